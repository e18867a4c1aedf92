"""Fixtures that tests of more than one package use."""

import compileall
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import umad
from umad import nano

with suppress(ModuleNotFoundError):  # the environment of tests/packages has none
    from hypothesis import HealthCheck, settings

    # How long an example takes, or is drawn for, is how busy the machine is.
    settings.register_profile("umad", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("umad")

# A shell's background job ignores Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure() -> None:
    """Compile umad once. Where Python is told to write no bytecode, each of the thousands of
    processes that tests start would compile it again, a third of the time that it takes to start.
    """
    compileall.compile_dir(Path(umad.__file__).parent, quiet=2)


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
