"""A model's file is read before it is mapped, and others go first."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest

from umad.engine.board.page import BOARD_BYTES, lay_out, take_seat, words_of
from umad.engine.board.seat import BoardSeat
from umad.engine.company import Company
from umad.engine.llamacpp import read_through as read_through_module
from umad.engine.llamacpp.read_through import PIECE_BYTES, is_here, read_through

MIB = 2**20
# Two files of 20 and 12 MiB have pieces of 8, 8, 4, 8 and 4.
SHARES = [0.25, 0.5, 0.625, 0.875, 1.0]


def nowhere(descriptor: int, start: int, n_bytes: int) -> bool:
    return False


class Scene:
    """A load on seat 0, a neighbour on seat 1, and a clock that ticks once for each piece."""

    def __init__(self, *, busy: bool) -> None:
        words = words_of(bytearray(BOARD_BYTES))
        lay_out(words)
        take_seat(words, 0)
        take_seat(words, 1)
        self.now_ns = 10**10
        if busy:
            BoardSeat(words, 1).standing(1, self.now_ns)
        self.told: list[float] = []
        self.rests_s: list[float] = []
        self.company = Company(BoardSeat(words, 0), now_ns=lambda: self.now_ns, tell=self._hear)

    def _hear(self, share: float) -> None:
        self.told.append(share)
        self.now_ns += 300_000_000

    def read(self, folder: Path, *, here: object = nowhere) -> None:
        files = [folder / "one.gguf", folder / "two.gguf"]
        for path, size in zip(files, (20 * MIB, 12 * MIB), strict=True):
            path.write_bytes(bytes(size))
        read_through(files, self.company, rest=self.rests_s.append, here=here)  # type: ignore[arg-type]


def test_a_load_alone_reads_without_a_rest_and_tells_how_far_it_is(tmp_path: Path) -> None:
    scene = Scene(busy=False)

    scene.read(tmp_path)

    assert scene.told == SHARES
    assert scene.rests_s == []


def test_beside_interactive_work_it_rests_after_every_piece(tmp_path: Path) -> None:
    scene = Scene(busy=True)

    scene.read(tmp_path)

    assert scene.told == SHARES
    assert len(scene.rests_s) == len(SHARES)
    assert all(0 < seconds <= 0.5 for seconds in scene.rests_s)


def test_beside_work_that_never_ends_a_load_ends_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = itertools.count()
    monkeypatch.setattr(read_through_module, "time", SimpleNamespace(perf_counter=seconds.__next__))
    monkeypatch.setattr(read_through_module, "_MOST_RESTS_S", 1.2)
    scene = Scene(busy=True)

    scene.read(tmp_path)

    assert scene.rests_s == [0.5, 0.5, 0.5]
    assert scene.told == SHARES


def test_what_is_in_memory_is_not_read_and_makes_nobody_rest(tmp_path: Path) -> None:
    scene = Scene(busy=True)

    scene.read(tmp_path, here=lambda descriptor, start, n_bytes: start < PIECE_BYTES)

    # The first pieces of both files are there.
    assert len(scene.rests_s) == 3
    assert scene.told == SHARES


def test_beyond_the_end_of_a_file_nothing_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(3 * MIB))

    with path.open("rb") as file:
        assert not is_here(file.fileno(), 4 * MIB, MIB)


def test_a_file_that_cannot_be_read_is_left_to_the_load_itself(tmp_path: Path) -> None:
    scene = Scene(busy=False)

    read_through([tmp_path / "gone.gguf"], scene.company, rest=scene.rests_s.append)

    assert scene.told == []
