"""Keeps a file that is being fetched, so that a later process goes on where this one was killed.

Beside the final name lie two files. Both end with `.incomplete`, so the hub's own `hf cache prune`
knows them for what they are:

    NAME.umad.incomplete        the bytes, each at its place; sparse
    NAME.umad-marks.incomplete  which of them are there

The marks are a page of JSON (what is fetched, by whom, cut into pieces of which size) and two
numbers for each piece: how many of its bytes were written, and how many of those the disk is known
to have. A mark is written after its bytes. So a killed process loses nothing that it wrote: the
kernel has it. After a loss of power only what the disk has is believed; that a machine was
restarted is told by its boot time.

Owner: the process that holds the file's lock (`umad.models.fetching.download`). Within it any
thread may write. Not: the content, which only the whole file's checksum can judge.
"""

import contextlib
import json
import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from umad.models.fetching.checksum import Checksum

_DATA, _MARKS = ".umad.incomplete", ".umad-marks.incomplete"
_VERSION = 1
_PAGE_BYTES = 4096
_PIECE = struct.Struct("<QQ")  # bytes written, bytes that the disk has
# 64 MiB each: six terabytes.
_MOST_PIECES = 100_000
# Linux works it out from the clock, which is corrected now and then.
_SAME_BOOT_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The marks of one file."""

    # The checksum of the whole, its length, and how it is cut.
    kind: str
    digits: str
    size_bytes: int
    piece_bytes: int
    # As the source names it.
    file: str
    # The process that fetches it, or did last, and when its machine was started.
    pid: int
    boot_s: int
    # For each piece: bytes written, and bytes that the disk has.
    pieces: tuple[tuple[int, int], ...] = ()

    @property
    def done_bytes(self) -> int:
        """Bytes that are there."""
        return sum(written for written, _ in self.pieces)


def data_path(final: Path) -> Path:
    """The path of the bytes of `final` until it is whole."""
    return final.with_name(final.name + _DATA)


def marks_path(final: Path) -> Path:
    """The path of the marks that say which of them are there."""
    return final.with_name(final.name + _MARKS)


def read_marks(final: Path) -> Marks | None:
    """The marks of a file that is not whole; None where there are none that make sense."""
    try:
        with open(marks_path(final), "rb") as file:
            page = file.read(_PAGE_BYTES)
            rest = file.read(_PIECE.size * _MOST_PIECES)
        said = json.loads(page.rstrip(b"\0"))
        if said.pop("version") != _VERSION:
            return None
        marks = Marks(**said)
        numbers = (marks.size_bytes, marks.piece_bytes, marks.pid, marks.boot_s)
        if not all(isinstance(one, int) for one in numbers):
            return None
        n_pieces = -(-marks.size_bytes // marks.piece_bytes)
        pieces = tuple(_PIECE.iter_unpack(rest[: n_pieces * _PIECE.size]))
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        ArithmeticError,
        AttributeError,
        struct.error,
    ):
        return None
    if len(pieces) != n_pieces or any(
        not 0 <= synced <= written <= marks.piece_bytes for written, synced in pieces
    ):
        return None
    return Marks(**(asdict(marks) | {"pieces": pieces}))


def unfinished_in(folder: Path) -> Iterator[tuple[Path, Marks]]:
    """The files of a folder that are not whole, by their final names."""
    for path in sorted(folder.glob("*" + _MARKS)):
        final = path.with_name(path.name.removesuffix(_MARKS))
        marks = read_marks(final)
        if marks is not None:
            yield final, marks


def boot_s() -> int:
    """The second since 1970 in which this machine was started."""
    return int(psutil.boot_time())


def discard(final: Path) -> None:
    """Remove what is there of a file that is not whole."""
    data_path(final).unlink(missing_ok=True)
    marks_path(final).unlink(missing_ok=True)


class PartialFile:
    """The bytes of one file that are there. Close it, or `publish` it when it is whole."""

    def __init__(self, final: Path, marks: Marks, data_fd: int, marks_fd: int) -> None:
        self._final = final
        self._marks = marks
        self._data_fd, self._marks_fd = data_fd, marks_fd
        self._lock = threading.Lock()
        self._written = [written for written, _ in marks.pieces]
        self._done_bytes = sum(self._written)
        # No piece before this one has a gap.
        self._first_gap = 0

    @classmethod
    def open(
        cls, final: Path, *, checksum: Checksum, size_bytes: int, piece_bytes: int, file: str
    ) -> "PartialFile":
        """Open what an earlier process left of this very content, or begin with nothing."""
        left = read_marks(final)
        booted_s = boot_s()
        pieces: tuple[tuple[int, int], ...]
        if (
            left is not None
            and (left.kind, left.digits, left.size_bytes)
            == (checksum.kind, checksum.digits, size_bytes)
            and data_path(final).is_file()
        ):
            # As it was cut then: marks of another size would mean other bytes.
            piece_bytes = left.piece_bytes
            pieces = left.pieces
            if abs(left.boot_s - booted_s) > _SAME_BOOT_S:
                pieces = tuple((synced, synced) for _, synced in pieces)
        else:
            discard(final)
            pieces = ((0, 0),) * -(-size_bytes // piece_bytes)
        marks = Marks(
            kind=checksum.kind,
            digits=checksum.digits,
            size_bytes=size_bytes,
            piece_bytes=piece_bytes,
            file=file,
            pid=os.getpid(),
            boot_s=booted_s,
            pieces=pieces,
        )
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        data_fd = os.open(data_path(final), flags, 0o666)
        try:
            marks_fd = os.open(marks_path(final), flags, 0o666)
        except BaseException:
            os.close(data_fd)
            raise
        opened = cls(final, marks, data_fd, marks_fd)
        try:
            opened._write_page()
        except BaseException:
            opened.close()
            raise
        return opened

    def _write_page(self) -> None:
        said = asdict(self._marks)
        del said["pieces"]
        page = json.dumps({"version": _VERSION, **said}).encode()
        pieces = b"".join(_PIECE.pack(*one) for one in self._marks.pieces)
        _write_all(self._marks_fd, page.ljust(_PAGE_BYTES, b"\0") + pieces, 0)

    @property
    def done_bytes(self) -> int:
        """Bytes that are there."""
        return self._done_bytes

    @property
    def n_pieces(self) -> int:
        """Into how many pieces the file is cut."""
        return len(self._written)

    def gap(self, piece: int) -> tuple[int, int]:
        """The bytes that a piece lacks: from here to before there; nothing where they are equal."""
        start = piece * self._marks.piece_bytes
        return start + self._written[piece], start + self._length(piece)

    def _length(self, piece: int) -> int:
        start = piece * self._marks.piece_bytes
        return min(self._marks.piece_bytes, self._marks.size_bytes - start)

    def write(self, at: int, data: bytes) -> None:
        """Put bytes at their place, over several pieces if need be.

        Bytes that are there already are passed over. Those of a piece come in their order: there is
        no mark for a gap, so one is a `ValueError`.
        """
        view = memoryview(data)
        while view:
            piece = at // self._marks.piece_bytes
            start = piece * self._marks.piece_bytes
            here = min(len(view), start + self._length(piece) - at)
            have = start + self._written[piece]
            if have < at:
                raise ValueError(f"bytes {have} to {at} were left out")
            if have < at + here:
                _write_all(self._data_fd, view[have - at : here], have)
                self._mark(piece, at + here - start)
            at, view = at + here, view[here:]

    def _mark(self, piece: int, written: int) -> None:
        with self._lock:
            more = written - self._written[piece]
            if more <= 0:  # another thread had the same bytes
                return
            self._written[piece] = written
            self._done_bytes += more
            at = _PAGE_BYTES + piece * _PIECE.size
            _write_all(self._marks_fd, written.to_bytes(8, "little"), at)

    def frontier(self) -> int:
        """The number of bytes without a gap, from the first on. One thread may ask."""
        while self._first_gap < len(self._written):
            have, end = self.gap(self._first_gap)
            if have < end:
                return have
            self._first_gap += 1
        return self._marks.size_bytes

    def read(self, at: int, n_bytes: int) -> bytes:
        """Bytes that are there, up to `n_bytes` of them."""
        return os.pread(self._data_fd, n_bytes, at)

    def settle(self) -> None:
        """Have the disk take what was written so far, and mark that."""
        with self._lock:
            written = tuple(self._written)
        # The bytes before their marks. macOS has no fdatasync.
        getattr(os, "fdatasync", os.fsync)(self._data_fd)
        for piece, n_bytes in enumerate(written):
            at = _PAGE_BYTES + piece * _PIECE.size + _PIECE.size // 2
            _write_all(self._marks_fd, n_bytes.to_bytes(8, "little"), at)

    def publish(self) -> None:
        """Give the file its name. It is whole and checked, and the disk has it before its name."""
        os.fsync(self._data_fd)
        data_path(self._final).rename(self._final)
        folder = os.open(self._final.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self.discard()

    def discard(self) -> None:
        """Remove what is there."""
        discard(self._final)
        self.close()

    def close(self) -> None:
        """Leave what is there to a later process."""
        fds, self._data_fd, self._marks_fd = (self._data_fd, self._marks_fd), -1, -1
        for fd in fds:
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)


def _write_all(fd: int, data: bytes | memoryview, at: int) -> None:
    view = memoryview(data)
    while view:
        n_bytes = os.pwrite(fd, view, at)
        at, view = at + n_bytes, view[n_bytes:]
