"""A store, a hub on loopback, and the jobs of a store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.loopback_hub import LoopbackHub
from umad.jobs.book import JobBook


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The store's, not made yet."""
    return tmp_path / "store"


@pytest.fixture
def book(folder: Path) -> Iterator[JobBook]:
    one = JobBook(folder)
    yield one
    one.close()


@pytest.fixture(scope="session")
def loopback_hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as one:
        yield one


@pytest.fixture
def hub(loopback_hub: LoopbackHub) -> Iterator[LoopbackHub]:
    """A hub with no repository yet."""
    loopback_hub.reset()
    yield loopback_hub
    loopback_hub.release()
    loopback_hub.settle()
