"""Fixtures that tests of more than one package use."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from umad import nano

# A shell's background job ignores Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def nano_path() -> Path:
    """The model that ships with umad."""
    path = nano.path()
    assert path.is_file(), f"{path} is part of the repository and is missing"
    return path


@pytest.fixture
def short_tmp_path() -> Iterator[Path]:
    """A private folder whose path is short enough for Unix sockets, which `tmp_path` is not:
    sockaddr_un holds 104 bytes on macOS."""
    folder = Path(tempfile.mkdtemp(prefix="umad-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
