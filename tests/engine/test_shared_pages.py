"""Memory that an engine writes and its readers only read, in either of its two forms."""

import errno
import mmap
import os
import subprocess
import sys

import pytest

from umad.engine.logits.shared_pages import HAS_MEMFD, SharedPages, open_read_only
from umad.errors import UnknownRequest

KINDS = [pytest.param(True, marks=pytest.mark.skipif(not HAS_MEMFD, reason="no memfd")), False]
kinds = pytest.mark.parametrize("memfd", KINDS, ids=["memfd", "named"])
N_BYTES = 3 * mmap.PAGESIZE


@kinds
def test_a_reader_sees_what_is_written_after_it_came(memfd: bool) -> None:
    pages = SharedPages(N_BYTES, memfd=memfd)
    fd = open_read_only(pages.handle)
    view = mmap.mmap(fd, N_BYTES, prot=mmap.PROT_READ)
    os.close(fd)

    pages.memory[7] = 99

    assert view[7] == 99
    pages.close()
    assert view[7] == 99, "who has it mapped keeps it"


@kinds
def test_a_reader_can_neither_write_nor_resize(memfd: bool) -> None:
    pages = SharedPages(N_BYTES, memfd=memfd)
    fd = open_read_only(pages.handle)

    with pytest.raises(PermissionError):
        mmap.mmap(fd, N_BYTES, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(fd, b"x")
    with pytest.raises(OSError, match=r"Invalid argument|not permitted"):
        os.ftruncate(fd, 0)

    os.close(fd)
    pages.close()


@pytest.mark.skipif(not HAS_MEMFD, reason="Linux seals")
def test_a_reader_that_opens_it_anew_for_writing_cannot_write_either() -> None:
    pages = SharedPages(N_BYTES)
    fd = open_read_only(pages.handle)
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)

    with pytest.raises(OSError, match="not permitted") as refused:
        mmap.mmap(again, N_BYTES, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    assert refused.value.errno == errno.EPERM
    with pytest.raises(OSError, match="not permitted"):
        os.write(again, b"x")
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(again, 0)

    for one in (fd, again):
        os.close(one)
    pages.close()


@kinds
def test_another_process_finds_it_by_its_handle(memfd: bool) -> None:
    pages = SharedPages(N_BYTES, memfd=memfd)
    pages.memory[:5] = b"hello"
    program = (
        "import sys, os; from umad.engine.logits.shared_pages import open_read_only\n"
        f"print(os.read(open_read_only({pages.handle!r}), 5).decode())"
    )

    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert (found.stdout, found.stderr) == ("hello\n", "")
    pages.close()


@kinds
def test_what_was_closed_is_gone(memfd: bool) -> None:
    pages = SharedPages(N_BYTES, memfd=memfd)
    pages.close()

    with pytest.raises(UnknownRequest, match="have gone"):
        open_read_only(pages.handle)


@pytest.mark.skipif(not HAS_MEMFD, reason="named memory has no number")
def test_a_number_that_belongs_to_something_else_by_now_is_not_passed_on() -> None:
    pages = SharedPages(N_BYTES)
    handle = pages.handle
    pages.close()
    other = SharedPages(N_BYTES)
    handle = {**handle, "fd": other.handle["fd"]}

    with pytest.raises(UnknownRequest, match="has ended"):
        open_read_only(handle)

    other.close()
