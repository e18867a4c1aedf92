"""A model's file is read before it is mapped, and others go first."""

from pathlib import Path

import pytest

from umad.engine.board.seat import BOARD_BYTES, BoardSeat, lay_out, take_seat, words_of
from umad.engine.company import Company
from umad.engine.llamacpp import read_through as module
from umad.engine.llamacpp.read_through import read_through

MIB = 2**20


class Scene:
    """A load on seat 0, a neighbour on seat 1, and a time that the neighbour works in."""

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
        self.company = Company(BoardSeat(words, 0), now_ns=self._later, tell=self.told.append)

    def _later(self) -> int:
        # Half a second a look: each of them is told.
        self.now_ns += 500_000_000 if len(self.told) < 3 else 0
        return self.now_ns


@pytest.fixture
def _is_not_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "resident_bytes", lambda path: 0)


def files(folder: Path) -> list[Path]:
    paths = [folder / "one.gguf", folder / "two.gguf"]
    paths[0].write_bytes(bytes(20 * MIB))
    paths[1].write_bytes(bytes(12 * MIB))
    return paths


@pytest.mark.usefixtures("_is_not_in_memory")
def test_a_load_alone_reads_without_a_rest_and_tells_how_far_it_is(tmp_path: Path) -> None:
    scene = Scene(busy=False)

    read_through(files(tmp_path), scene.company, rest=scene.rests_s.append)

    assert scene.rests_s == []
    assert scene.told[:2] == [0.25, 0.5]
    assert scene.told == sorted(scene.told)


@pytest.mark.usefixtures("_is_not_in_memory")
def test_beside_interactive_work_it_rests_after_every_piece(tmp_path: Path) -> None:
    scene = Scene(busy=True)

    read_through(files(tmp_path), scene.company, rest=scene.rests_s.append)

    # Three pieces of the first file, two of the second; the neighbour ages out after two seconds.
    assert 1 <= len(scene.rests_s) <= 5
    assert all(0 <= seconds <= 0.5 for seconds in scene.rests_s)


def test_what_is_in_memory_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = files(tmp_path)
    monkeypatch.setattr(module, "resident_bytes", lambda path: path.stat().st_size)
    monkeypatch.setattr(module, "_read", lambda *_: pytest.fail("it was read"))
    scene = Scene(busy=False)

    read_through(paths, scene.company, rest=scene.rests_s.append)

    assert scene.told[-1] == 1.0


def test_a_file_that_cannot_be_read_is_left_to_the_load_itself(tmp_path: Path) -> None:
    scene = Scene(busy=False)

    read_through([tmp_path / "gone.gguf"], scene.company, rest=scene.rests_s.append)

    assert scene.told == []
