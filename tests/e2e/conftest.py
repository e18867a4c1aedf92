"""One daemon on nano for every end-to-end test that does not harm it.

With a Q8_0 cache, where a CPU computes the same bits for every batch (bench/determinism.py): so
that a stream which others disturb can be told from one that they do not.
"""

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
        with live_daemon(folder, "nano", "--ctx-size", "4096", "--kv-type", "q8") as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)
