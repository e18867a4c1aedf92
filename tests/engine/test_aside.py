"""Parts of a load that give way to another engine's interactive work."""

import importlib
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from umad.engine import start
from umad.engine.aside import run_aside
from umad.engine.board.page import BOARD_BYTES, take_seat, words_of
from umad.engine.board.seat import BoardSeat
from umad.engine.company import Company

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority here")
NOW = 10**12
# An engine with one more thread, whose work is over. argv[1]: interactive streams next door.
LEAVES = """
import os, sys, threading
from umad.engine.board.page import BOARD_BYTES, take_seat, words_of
from umad.engine.board.seat import BoardSeat
from umad.engine.company import Company

words = words_of(bytearray(BOARD_BYTES))
take_seat(words, 0)
take_seat(words, 1)
BoardSeat(words, 1).standing(int(sys.argv[1]), 10**12)
threading.Thread(target=threading.Event().wait, daemon=True).start()
Company(BoardSeat(words, 0), now_ns=lambda: 10**12, tell=print).leave()
print(*(os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")))
"""
IDLE = getattr(os, "SCHED_IDLE", 5)
USUAL = 0


def policy() -> int:
    """How the calling thread shares the cores: 0 as usual, `IDLE` on idle ones alone."""
    return os.sched_getscheduler(threading.get_native_id())


@needs_linux
def test_a_part_steps_back_when_interactive_work_arrives_in_the_middle() -> None:
    before = policy()
    arrived, has_stepped_back = threading.Event(), threading.Event()

    def part() -> list[int]:
        usual = policy()
        arrived.set()
        # A loop, not an event: only this thread knows its priority, and nobody tells it.
        while policy() == usual and not has_stepped_back.wait(0.001):
            pass
        return [usual, policy()]

    assert run_aside(part, is_busy=arrived.is_set) == [before, IDLE]

    assert policy() == before


@needs_linux
def test_threads_that_a_part_started_step_back_with_it() -> None:
    started, ends = threading.Event(), threading.Event()
    seen: list[int] = []

    def team() -> None:
        started.set()
        while policy() != IDLE and not ends.wait(0.001):
            pass
        seen.append(policy())

    def part() -> None:
        helper = threading.Thread(target=team)
        helper.start()
        helper.join()

    run_aside(part, is_busy=started.is_set)

    assert seen == [IDLE]


def test_what_a_part_returns_is_handed_on() -> None:
    assert run_aside(lambda: "made", is_busy=lambda: False) == "made"


def test_an_error_of_a_part_is_raised_where_it_was_asked_for() -> None:
    def part() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run_aside(part, is_busy=lambda: True)


@needs_linux
def test_each_part_of_a_load_looks_anew_at_the_other_engines() -> None:
    words = words_of(bytearray(BOARD_BYTES))
    take_seat(words, 0)
    take_seat(words, 1)
    chat = BoardSeat(words, 1)
    company = Company(BoardSeat(words, 0), now_ns=lambda: NOW, tell=lambda _: None)
    usual, ends = policy(), threading.Event()

    def part() -> int:
        chat.standing(1, NOW)
        while policy() == usual:
            ends.wait(0.001)
        chat.standing(0, NOW)
        return policy()

    assert company.aside(part) == IDLE
    assert company.aside(policy) == usual


@needs_linux
def test_threads_that_stay_for_later_work_do_not_step_back() -> None:
    words = words_of(bytearray(BOARD_BYTES))
    take_seat(words, 0)
    take_seat(words, 1)
    BoardSeat(words, 1).standing(1, NOW)
    company = Company(BoardSeat(words, 0), now_ns=lambda: NOW, tell=lambda _: None)
    company.keeps_threads = True

    assert company.compute_aside(threading.get_native_id) == threading.get_native_id()


@needs_linux
def test_the_parts_that_compute_give_way_where_they_leave_no_threads() -> None:
    words = words_of(bytearray(BOARD_BYTES))
    company = Company(BoardSeat(words, 0), now_ns=lambda: NOW, tell=lambda _: None)

    assert company.compute_aside(threading.get_native_id) != threading.get_native_id()


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["--options"], ["--options", "{"], ["--options", "3"]]
)
def test_a_command_line_that_is_none_is_left_to_the_engine_to_refuse(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    monkeypatch.setattr(start, "sys", SimpleNamespace(modules={}))
    monkeypatch.setattr(start, "importlib", SimpleNamespace(import_module=found.append))

    start.import_parts(arguments)

    assert found[-1] == "umad.engine.main"


def test_the_parts_of_an_engine_are_modules_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    monkeypatch.setattr(start, "sys", SimpleNamespace(modules={}))
    monkeypatch.setattr(start, "importlib", SimpleNamespace(import_module=found.append))
    arguments = ["--fd", "3", "--options", '{"board_fd": null, "board_seat": 0}']

    start.import_parts(arguments)

    monkeypatch.undo()
    for name in found:
        importlib.import_module(name)
    assert found[-1] == "umad.engine.main"


@needs_linux
@pytest.mark.parametrize(("streams_next_door", "left"), [(1, IDLE), (0, USUAL)])
def test_an_engine_that_ends_gives_its_memory_back_on_idle_cores_beside_a_reader(
    streams_next_door: int, left: int
) -> None:
    said = subprocess.run(
        [sys.executable, "-c", LEAVES, str(streams_next_door)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    # numpy may have threads of its own.
    assert set(said.stdout.split()) == {str(left)}
