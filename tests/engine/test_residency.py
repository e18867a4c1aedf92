"""How much of a file is in memory."""

import mmap
import os
import sys
from pathlib import Path

import pytest

from umad import nano
from umad.engine.residency import resident_bytes, resident_weights

PAGES = 64


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="nobody tells here")
def test_a_file_that_was_just_written_is_in_memory_and_counted_from_the_start_given(
    tmp_path: Path,
) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"x" * (PAGES * mmap.PAGESIZE))

    assert resident_bytes(file) == PAGES * mmap.PAGESIZE
    assert resident_bytes(file, start=60 * mmap.PAGESIZE + 7) == 4 * mmap.PAGESIZE


def test_an_empty_file_has_nothing_and_one_that_is_not_there_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    assert not resident_bytes(tmp_path / "empty")
    assert resident_bytes(tmp_path / "nowhere") is None


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="pages cannot be given back here")
def test_pages_that_were_given_back_are_not_counted(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"x" * (PAGES * mmap.PAGESIZE))
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    found = resident_bytes(file)

    if found == PAGES * mmap.PAGESIZE:
        pytest.skip("this file system keeps its pages")
    assert found is not None
    assert found < PAGES * mmap.PAGESIZE


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="nobody tells here")
def test_the_weights_of_a_model_that_was_just_written_are_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "nano.gguf"
    file.write_bytes(nano.path().read_bytes())

    found = resident_weights(file)

    assert found is not None
    here, every = found
    assert 0 < every < file.stat().st_size
    assert every <= here < every + mmap.PAGESIZE
