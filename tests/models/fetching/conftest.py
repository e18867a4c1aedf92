"""A hub, a cache and files for tests of fetching."""

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.loopback_hub import LoopbackHub
from umad.models.fetching.download import THREAD


@pytest.fixture(scope="session")
def loopback_hub() -> Iterator[LoopbackHub]:
    """The one of all tests: it takes longer to start than most of them."""
    with LoopbackHub() as one:
        yield one


@pytest.fixture
def hub(loopback_hub: LoopbackHub) -> Iterator[LoopbackHub]:
    """A hub with no repository yet."""
    loopback_hub.reset()
    yield loopback_hub
    loopback_hub.release()
    # A fetch that failed waits two seconds for its threads, and leaves them alone then.
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join(timeout=60)
            assert not thread.is_alive(), "a thread of a fetch that is over still reads"
    loopback_hub.settle()


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: where others keep the disk busy, one fsync takes minutes. That bytes are on
    the disk before their name is cannot be seen without a loss of power.
    """
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    monkeypatch.setattr(os, "fdatasync", lambda fd: None, raising=False)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The folder of the hub's cache, not made yet."""
    return tmp_path / "hub"


def random_bytes(n_bytes: int, seed: int = 1) -> bytes:
    """Bytes that no server could invent."""
    return random.Random(seed).randbytes(n_bytes)
