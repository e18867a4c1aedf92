"""One daemon on nano for every end-to-end test that does not harm it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import LiveDaemon, live_daemon


@pytest.fixture(scope="module")
def daemon() -> Iterator[LiveDaemon]:
    """Shared by the tests of a module."""
    folder = Path(tempfile.mkdtemp(prefix="umad-", dir="/tmp"))
    try:
        with live_daemon(folder, "nano", "--ctx-size", "4096", "--threads", "2") as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)
