"""What tests of a team on a network of its own need; without it they are skipped, and say why."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.router.proxies import HAPROXY, OPENSSL
from tests.team.lan import missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip all of them where no network can be made, or nothing routes."""
    why = missing()
    if HAPROXY is None or OPENSSL is None:
        why = "haproxy and openssl are not installed"
    if why:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """For one team, with a path that is short enough for Unix sockets."""
    made = Path(tempfile.mkdtemp(prefix="umad-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)
