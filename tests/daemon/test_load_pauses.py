"""Loads that only background work waits for rest while interactive work runs, and not for ever."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.daemon.device_board import DeviceBoard
from umad.daemon.engine_process import EngineProcess
from umad.daemon.load_pauses import HOLD_S, LOOK_S, STOP_S, STOP_SHARE, Allowance, LoadPauses
from umad.engine.board.seat import BoardSeat
from umad.units import NS_PER_S

WAIT_S = 20.0
SLEEPS = [sys.executable, "-c", "import time; time.sleep(100)"]


@dataclass(slots=True)
class HandClock:
    at_ns: int = 10**12

    def now_ns(self) -> int:
        return self.at_ns


@dataclass(slots=True)
class Board:
    """What engines would show."""

    interactive: bool = False
    stoppable: set[str] = field(default_factory=lambda: {"b"})

    def is_interactive(self, now_ns: int) -> bool:
        return self.interactive

    def may_stop(self, model: str) -> bool:
        return model in self.stoppable


@dataclass(slots=True)
class Load:
    """A load whose process is a real one, which sleeps."""

    process: EngineProcess
    name: str = "b"

    def stop_for_a_while(self) -> None:
        self.process.stop_for_a_while()

    def go_on(self) -> None:
        self.process.go_on()

    @property
    def is_stopped(self) -> bool:
        return psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED


@dataclass(slots=True)
class Scene:
    board: Board
    clock: HandClock
    pauses: LoadPauses
    load: Load

    def follow(self, *, is_background: bool = True) -> None:
        self.pauses.follow([self.load], lambda _: is_background)

    async def until(self, *, is_stopped: bool) -> None:
        async with asyncio.timeout(WAIT_S):
            # The kernel tells nobody that a process has stopped.
            while self.load.is_stopped != is_stopped:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_S / 4)


def on_scene(test: Callable[[Scene], Coroutine[Any, Any, None]], *, load_s: float = 600.0) -> None:
    async def scene() -> None:
        board, clock = Board(), HandClock()
        process = await EngineProcess.linked("b", asyncio.Protocol(), lambda _: SLEEPS)
        pauses = LoadPauses(board, clock=clock, load_s=load_s)
        try:
            await test(Scene(board, clock, pauses, Load(process)))
        finally:
            pauses.stop()
            await process.end()

    asyncio.run(scene())


# -- time ------------------------------------------------------------------------------------------


@given(
    most_ns=st.integers(0, 1000),
    steps=st.lists(st.tuples(st.booleans(), st.integers(1, 100)), max_size=200),
)
def test_a_load_waits_only_for_others_and_never_for_longer_than_its_allowance(
    most_ns: int, steps: list[tuple[bool, int]]
) -> None:
    allowance, now_ns, waited_ns, longest_ns = Allowance(most_ns), 0, 0, 0
    for is_felt, passed_ns in steps:
        waits = allowance.waits(is_felt, now_ns)
        assert is_felt or not waits
        assert waits or not is_felt or waited_ns >= most_ns
        now_ns += passed_ns
        waited_ns += passed_ns if waits else 0
        longest_ns = max(longest_ns, passed_ns)

    assert waited_ns <= most_ns + longest_ns


def test_a_load_that_could_begin_waits_for_a_rest_and_for_a_chat_without_one_not_for_ever() -> None:
    board, clock = Board(interactive=True), HandClock()
    pauses = LoadPauses(board, clock=clock, load_s=600)
    assert pauses.holds("b")
    board.interactive = False
    assert not pauses.holds("b")
    board.interactive = True
    assert pauses.holds("b")

    clock.at_ns += round(HOLD_S * NS_PER_S)

    assert not pauses.holds("b")


def test_each_load_of_a_model_may_wait_anew() -> None:
    board, clock = Board(interactive=True), HandClock()
    pauses = LoadPauses(board, clock=clock, load_s=600)
    pauses.holds("b")
    clock.at_ns += round(HOLD_S * NS_PER_S)
    assert not pauses.holds("b")

    pauses.begins("b")

    assert pauses.holds("b")


def test_where_engines_show_nothing_no_load_waits() -> None:
    assert not LoadPauses(None, clock=HandClock(), load_s=600).holds("b")


# -- processes -------------------------------------------------------------------------------------


def test_a_load_stands_still_while_interactive_work_runs() -> None:
    async def test(scene: Scene) -> None:
        scene.follow()
        scene.board.interactive = True
        await scene.until(is_stopped=True)
        scene.board.interactive = False
        await scene.until(is_stopped=False)

    on_scene(test)


def test_a_load_goes_on_once_somebody_interactive_waits_for_it() -> None:
    async def test(scene: Scene) -> None:
        scene.board.interactive = True
        scene.follow()
        await scene.until(is_stopped=True)
        scene.follow(is_background=False)
        await scene.until(is_stopped=False)

    on_scene(test)


def test_a_process_that_measures_is_left_alone() -> None:
    async def test(scene: Scene) -> None:
        scene.board.stoppable.clear()
        scene.board.interactive = True
        # The first look is at once.
        scene.follow()
        assert not scene.load.is_stopped
        scene.board.stoppable.add("b")
        await scene.until(is_stopped=True)

    on_scene(test)


@pytest.mark.parametrize(("load_s", "stop_s"), [(600.0, STOP_S), (8.0, 8 * STOP_SHARE)])
def test_a_load_stands_still_for_a_part_of_its_time_at_most(load_s: float, stop_s: float) -> None:
    async def test(scene: Scene) -> None:
        scene.board.interactive = True
        scene.follow()
        await scene.until(is_stopped=True)
        scene.clock.at_ns += round(stop_s * NS_PER_S)
        await scene.until(is_stopped=False)

    on_scene(test, load_s=load_s)


def test_a_load_that_is_over_runs_however_it_stood() -> None:
    async def test(scene: Scene) -> None:
        scene.board.interactive = True
        scene.follow()
        await scene.until(is_stopped=True)
        scene.pauses.follow([], lambda _: True)
        await scene.until(is_stopped=False)

    on_scene(test)


def test_a_load_that_stands_still_can_be_killed() -> None:
    async def test(scene: Scene) -> None:
        scene.board.interactive = True
        scene.follow()
        await scene.until(is_stopped=True)
        async with asyncio.timeout(WAIT_S):
            assert await scene.load.process.end() == -9

    on_scene(test)


# -- the board -------------------------------------------------------------------------------------


@pytest.fixture
def board() -> Iterator[DeviceBoard]:
    with DeviceBoard() as made:
        yield made


def test_the_board_says_who_may_be_stopped_and_a_new_process_may_not(board: DeviceBoard) -> None:
    seat = BoardSeat.opened(board.fd, board.seat("b"))
    assert not board.may_stop("b")
    seat.let_stop(True)
    assert board.may_stop("b")
    assert not board.may_stop("a")

    board.seat("b")

    assert not board.may_stop("b")


def test_the_board_says_whether_anybody_reads(board: DeviceBoard) -> None:
    seat = BoardSeat.opened(board.fd, board.seat("a"))
    assert not board.is_interactive(10**12)
    seat.standing(1, 10**12)
    assert board.is_interactive(10**12)


def test_an_engine_that_may_be_stopped_ends_with_its_daemon(
    board: DeviceBoard, tmp_path: Path
) -> None:
    """The engine's own first lines, in a process whose parent is killed while it stands still."""
    script = tmp_path / "parent.py"
    options = f'{{"board_fd": {board.fd}, "board_seat": {board.seat("b")}}}'
    script.write_text(
        "import os, subprocess, sys, time\n"
        "code = '''import sys, os, time\n"
        "from umad.engine.prctl import die_with_parent\n"
        "from umad.engine.start import import_parts\n"
        "die_with_parent(os.getppid())\n"
        "import umad.engine.start\n"
        "umad.engine.start._PARTS = ()\n"
        "import_parts(sys.argv[1:])\n"
        "time.sleep(100)'''\n"
        f"child = subprocess.Popen([sys.executable, '-c', code, '--options', {options!r}],"
        f" pass_fds=({board.fd},))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(100)\n"
    )
    command = [sys.executable, str(script)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, pass_fds=(board.fd,)
    ) as parent:
        try:
            assert parent.stdout is not None
            child = psutil.Process(int(parent.stdout.readline()))
            _until(lambda: board.may_stop("b"))
            child.suspend()
            _until(lambda: child.status() == psutil.STATUS_STOPPED)
        finally:
            parent.kill()
    _until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def _until(holds: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < ends_s
        time.sleep(0.01)
