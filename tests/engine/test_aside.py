"""Parts of a load that give way to another engine's interactive work."""

import os
import sys
import threading

import pytest

from umad.engine import start
from umad.engine.aside import run_aside
from umad.engine.board.page import BOARD_BYTES, take_seat, words_of
from umad.engine.board.seat import BoardSeat
from umad.engine.company import Company

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority here")
NOW = 10**12


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@needs_linux
def test_beside_interactive_work_a_part_runs_on_idle_cores_and_what_follows_does_not() -> None:
    before = niceness()

    assert run_aside(niceness, is_busy=True) == 19

    assert niceness() == before


def test_with_nobody_to_disturb_a_part_runs_in_the_thread_that_asks() -> None:
    asks = threading.get_ident()

    assert run_aside(threading.get_ident, is_busy=False) == asks


def test_an_error_of_a_part_is_raised_where_it_was_asked_for() -> None:
    def part() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run_aside(part, is_busy=True)


@needs_linux
def test_each_part_of_a_load_looks_anew_at_the_other_engines() -> None:
    words = words_of(bytearray(BOARD_BYTES))
    take_seat(words, 0)
    take_seat(words, 1)
    chat = BoardSeat(words, 1)
    company = Company(BoardSeat(words, 0), now_ns=lambda: NOW, tell=lambda _: None)
    usual = niceness()

    chat.standing(1, NOW)
    beside = company.aside(niceness)
    chat.standing(0, NOW)
    alone = company.aside(niceness)

    assert (beside, alone) == (19, usual)


def test_the_parts_of_an_engine_are_modules_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    monkeypatch.setattr(start, "sys", type("sys", (), {"modules": {}}))
    monkeypatch.setattr(start.importlib, "import_module", found.append)
    arguments = ["--fd", "3", "--options", '{"board_fd": null, "board_seat": 0}']

    start.import_parts(arguments)

    monkeypatch.undo()
    for name in found:
        __import__(name)
    assert found[-1] == "umad.engine.main"
