"""Memory that processes share: nobody else opens it, and one of them cannot end the others."""

import contextlib
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from umad.daemon.device_board import DeviceBoard
from umad.engine.board.page import BOARD_BYTES, SEATS, words_of
from umad.engine.board.seat import BoardSeat
from umad.engine.logits.shared_pages import SharedPages, open_read_only

linux = pytest.mark.skipif(sys.platform != "linux", reason="a memfd is Linux's")
as_root = pytest.mark.skipif(os.getuid() != 0, reason="becomes another user, which root can")
AS_NOBODY = """
import os, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
for path in sys.argv[1:]:
    for flags in (os.O_RDONLY, os.O_RDWR):
        try:
            os.open(path, flags)
        except PermissionError:
            continue
        print("opened", path)
"""


@linux
@pytest.mark.parametrize("n_bytes", [0, 1, BOARD_BYTES - 1, BOARD_BYTES * 2])
def test_an_engine_cannot_make_the_board_another_size(n_bytes: int) -> None:
    """Whoever looked at what is gone would be ended by SIGBUS: the daemon, and every engine."""
    with DeviceBoard() as board:
        seat = board.seat("a")

        with pytest.raises(PermissionError):
            os.ftruncate(board.fd, n_bytes)

        assert board.seat("a") == seat


def test_a_board_that_a_mad_engine_has_written_over_harms_no_plan() -> None:
    for value in (-(2**63), -1, 2**62, 2**63 - 1):
        words = words_of(bytearray(BOARD_BYTES))
        seat = BoardSeat(words, 0)
        for word in range(len(words)):
            words[word] = value

        neighbours = seat.others(10**12)

        assert not neighbours.interactive
        assert seat.arrived_elsewhere() in (True, False)


def test_a_neighbour_that_says_it_comes_from_the_future_is_not_waited_for() -> None:
    words = words_of(bytearray(BOARD_BYTES))
    mine, theirs = BoardSeat(words, 0), BoardSeat(words, 1)
    words[1] = SEATS
    theirs.arrived(2**62)

    assert not mine.others(10**12).interactive


@linux
@as_root
def test_another_user_opens_neither_the_board_nor_a_ring_of_logits() -> None:
    pages = SharedPages(4096)
    with DeviceBoard() as board:
        paths = [f"/proc/{os.getpid()}/fd/{fd}" for fd in (board.fd, pages.handle["fd"])]
        tried = subprocess.run(
            [sys.executable, "-I", "-c", AS_NOBODY, *paths],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    pages.close()

    assert tried.stdout == ""


@linux
def test_nothing_of_either_has_a_name_that_could_be_guessed() -> None:
    before = set(Path("/dev/shm").iterdir())
    pages = SharedPages(4096)
    with DeviceBoard():
        assert (set(Path("/dev/shm").iterdir()) - before) & open_here() == set()
    pages.close()


def open_here() -> set[Path]:
    """The files that this process has open or mapped. Other tests' processes make theirs."""
    maps = [line.split(maxsplit=5)[5:] for line in Path("/proc/self/maps").read_text().splitlines()]
    mapped = {Path(name[0]) for name in maps if name}
    opened = set[Path]()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            opened.add(link.readlink())
    return mapped | opened


def test_where_pages_need_a_name_it_is_long_and_only_this_users() -> None:
    one, other = SharedPages(4096, memfd=False), SharedPages(4096, memfd=False)
    names = [str(pages.handle["name"]) for pages in (one, other)]
    modes = [os.fstat(int(str(pages.handle["fd"]))).st_mode & 0o777 for pages in (one, other)]
    one.close()
    other.close()

    assert names[0] != names[1]
    assert all(len(name.removeprefix("/umad-")) == 16 for name in names)
    assert modes == [0o600, 0o600]


@linux
def test_a_reader_of_a_ring_can_neither_write_it_nor_cut_it_short() -> None:
    """Not even by the way around through /proc, which leads past its descriptor's own mode."""
    pages = SharedPages(4096)
    reading = open_read_only(pages.handle)
    writing = os.open(f"/proc/self/fd/{reading}", os.O_RDWR)

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(reading, b"x")
    with pytest.raises(PermissionError):
        os.write(writing, b"x")
    with pytest.raises(PermissionError):
        os.ftruncate(writing, 0)
    with pytest.raises(PermissionError):
        mmap.mmap(writing, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE)

    os.close(reading)
    os.close(writing)
    pages.close()
