"""OpenMP's threads spin while they have cores of their own, and hardly at all in a crowd."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typing_extensions import override

from umad.engine.steps.spinning import (
    CROWDED_LOOKS,
    CROWDED_SHARE,
    LEAST_CALM_NS,
    LOOK_NS,
    MOST_CALM_NS,
    IdleTeam,
    Patience,
    SpinWatch,
)

needs_schedstat = pytest.mark.skipif(
    not Path("/proc/self/schedstat").is_file(), reason="the kernel does not tell waits"
)


class Team(IdleTeam):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @override
    def gather(self) -> None:
        self.told.append("gather")

    @override
    def dismiss(self) -> None:
        self.told.append("dismiss")


class Machine:
    """Two decode threads that wait for cores as it is told."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.waited_ns = 0
        self.team = Team()
        self.watch = SpinWatch(self.team, threads=2, waited_ns=lambda: self.waited_ns, now_ns=0)

    def run(self, seconds: float, *, share: float, is_read: bool = True) -> None:
        for _ in range(round(seconds * 1e9) // LOOK_NS):
            self.now_ns += LOOK_NS
            self.waited_ns += round(share * 2 * LOOK_NS)
            self.watch.look(self.now_ns, is_read=is_read)


def test_alone_nothing_is_done() -> None:
    machine = Machine()

    machine.run(60, share=0.05)

    assert machine.team.told == []


CROWD_S = (CROWDED_LOOKS + 1) * LOOK_NS / 1e9


def test_a_crowd_that_stays_makes_threads_polite() -> None:
    machine = Machine()

    machine.run(CROWD_S, share=0.4)

    assert machine.team.told == ["gather"]


def test_another_engine_that_begins_or_ends_is_no_crowd() -> None:
    """It takes a core for some looks, now and then."""
    machine = Machine()

    for _ in range(10):
        machine.run((CROWDED_LOOKS - 1) * LOOK_NS / 1e9, share=0.5)
        machine.run(0.2, share=0.0)

    assert machine.team.told == []


def test_what_background_work_waited_for_makes_no_interactive_step_polite() -> None:
    machine = Machine()

    machine.run(1, share=0.5, is_read=False)
    machine.run(0.2, share=0.0, is_read=True)
    machine.run(0.5, share=0.0, is_read=False)

    assert machine.team.told == ["gather", "dismiss", "gather"]


def test_a_crowd_is_remembered_while_nobody_reads() -> None:
    machine = Machine()

    machine.run(CROWD_S, share=0.4, is_read=True)
    machine.run(0.2, share=0.0, is_read=False)
    machine.run(0.2, share=0.4, is_read=True)

    assert machine.team.told == ["gather", "dismiss", "gather"]


def test_a_second_of_calm_makes_them_eager_again() -> None:
    machine = Machine()
    machine.run(1, share=0.4)

    machine.run(0.9, share=0.0)
    before = list(machine.team.told)
    machine.run(0.2, share=0.0)

    assert before == ["gather"]
    assert machine.team.told == ["gather", "dismiss"]


def test_a_pause_in_the_crowd_is_no_calm() -> None:
    machine = Machine()

    for _ in range(20):
        machine.run(0.5, share=0.4)
        machine.run(0.5, share=0.0)

    assert machine.team.told == ["gather"]


def test_where_being_eager_is_always_a_mistake_it_is_tried_ever_less() -> None:
    """Something makes eager threads wait that polite ones do not feel."""
    machine = Machine()
    tries = 0

    for _ in range(round(120e9) // LOOK_NS):
        eager = machine.team.told[-1:] != ["gather"]
        tries += eager
        machine.run(LOOK_NS / 1e9, share=0.5 if eager else 0.0)

    assert tries < 10 * CROWDED_LOOKS


def crowd(patience: Patience, now_ns: int) -> None:
    for _ in range(CROWDED_LOOKS):
        patience.saw(0.5, now_ns)


def test_the_time_of_calm_is_bounded_and_falls_back() -> None:
    patience = Patience()
    now_ns = 0
    for _ in range(20):  # every try a mistake
        crowd(patience, now_ns)
        now_ns += MOST_CALM_NS
        assert not patience.saw(0.0, now_ns), "never longer than the bound"
        now_ns += LOOK_NS
    now_ns += 10 * MOST_CALM_NS  # eager for long, and rightly

    crowd(patience, now_ns)

    assert not patience.saw(0.0, now_ns + LEAST_CALM_NS)


def test_steps_between_looks_cost_no_look() -> None:
    asked: list[int] = []

    def waited() -> int:
        asked.append(0)
        return 0

    watch = SpinWatch(Team(), threads=2, waited_ns=waited, now_ns=0)

    for now_ns in range(0, LOOK_NS, LOOK_NS // 100):
        watch.look(now_ns, is_read=False)

    assert len(asked) == 1, "when it was made"


def test_the_share_that_is_crowded_lies_between_what_was_measured() -> None:
    assert 0.22 < CROWDED_SHARE < 0.35


@needs_schedstat
def test_waiting_for_a_core_is_seen() -> None:
    """Two busy processes on one core: each waits about half of the time."""
    core = min(os.sched_getaffinity(0))
    script = (
        "import os, sys, time\n"
        "from umad.engine.steps.decode_waits import DecodeWaits\n"
        f"os.sched_setaffinity(0, {{{core}}})\n"
        "waited_ns = DecodeWaits()\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
        "end, before = time.process_time() + 0.2, waited_ns()\n"
        "while time.process_time() < end: pass\n"
        "print(waited_ns() - before)\n"
    )
    waits = _both_at_once(script)

    assert max(waits)[0] > 0.1e9


@needs_schedstat
def test_what_a_thread_that_does_other_work_waits_is_not_the_decode_s() -> None:
    """Two busy processes on one core. In each, the busy thread has a name of its own."""
    core = min(os.sched_getaffinity(0))
    script = (
        "import os, sys, threading, time\n"
        "from umad.engine.prctl import name_thread\n"
        "from umad.engine.steps.decode_waits import DecodeWaits\n"
        f"os.sched_setaffinity(0, {{{core}}})\n"
        "waited_ns = DecodeWaits()\n"
        "def own_ns():\n"
        "    return int(open('/proc/thread-self/schedstat').read().split()[1])\n"
        "def work():\n"
        "    name_thread('umad-save')\n"
        "    end, before = time.thread_time() + 0.2, own_ns()\n"
        "    while time.thread_time() < end: pass\n"
        "    took.append(own_ns() - before)\n"
        "took = []\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
        "before = waited_ns()\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start(); thread.join()\n"
        "print(took[0], waited_ns() - before)\n"
    )
    waits = _both_at_once(script)

    (own_ns, told_ns) = max(waits)
    assert own_ns > 0.1e9
    assert told_ns < own_ns / 2


@needs_schedstat
def test_a_team_is_counted_while_it_sleeps_and_gone_when_dismissed() -> None:
    """libgomp itself, in a process of its own: its threads come and go."""
    script = (
        "import ctypes, ctypes.util, os, time\n"
        "from umad.engine.steps.spinning import IdleTeam\n"
        "tasks = lambda: len(os.listdir('/proc/self/task'))\n"
        "libgomp = ctypes.CDLL('libgomp.so.1')\n"
        "alone, team = tasks(), IdleTeam(libgomp, 3)\n"
        "team.gather()\n"
        "gathered = tasks()\n"
        "team.gather()\n"
        "again = tasks()\n"
        "team.dismiss()\n"
        "deadline = time.monotonic() + 50\n"
        "while tasks() > alone and time.monotonic() < deadline: os.sched_yield()\n"
        "print(gathered - alone, again - gathered, tasks() - alone)\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    if "libgomp" in run.stderr:
        pytest.skip("no libgomp here")

    assert run.stdout.split() == ["4", "0", "0"], run.stderr


def _both_at_once(script: str) -> list[tuple[int, ...]]:
    """Two processes run `script` from the same moment on; the numbers that each has printed."""
    # Both read one pipe, whose end lets them go in the same moment.
    gate, opens = os.pipe()
    processes = [
        subprocess.Popen([sys.executable, "-c", script], stdin=gate, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    os.close(gate)
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    os.close(opens)
    return [
        tuple(int(one) for one in process.communicate(timeout=60)[0].split())
        for process in processes
    ]
