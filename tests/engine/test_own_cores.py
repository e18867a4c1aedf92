"""Two threads of a decode are not put on one core."""

import os
from collections.abc import Collection
from pathlib import Path

import pytest

from tests.engine.harness import engine
from tests.engine.test_spinning import Team
from umad.engine.steps.own_cores import OwnCores
from umad.engine.steps.spinning import CROWDED_LOOKS, LOOK_NS, SpinWatch

HELPERS = [11, 12, 13]


class Machine:
    """Cores 0 to 3. The step thread runs on `core`, and threads in `ended` have ended."""

    def __init__(self, *, threads: int = 4) -> None:
        self.core = 3
        self.may_use: dict[int, set[int]] = {}
        self.ended: set[int] = set()
        self.cores = OwnCores(range(4), threads=threads, tie=self.tie, core=lambda: self.core)

    def tie(self, thread: int, cores: Collection[int]) -> None:
        if thread in self.ended:
            raise ProcessLookupError
        self.may_use[thread] = set(cores)


def test_each_helper_has_a_core_and_one_is_left_for_the_step_thread() -> None:
    machine = Machine()

    machine.cores.keep(HELPERS)

    assert machine.may_use == {11: {0}, 12: {1}, 13: {2}}


def test_a_helper_gives_its_core_to_the_step_thread_and_takes_the_free_one() -> None:
    machine = Machine()
    machine.cores.keep(HELPERS)
    machine.core = 1

    machine.cores.make_room()
    machine.cores.make_room()

    assert machine.may_use == {11: {0}, 12: {3}, 13: {2}}


def test_a_new_helper_takes_the_core_of_one_that_has_ended() -> None:
    machine = Machine()
    machine.cores.keep(HELPERS)

    machine.cores.keep([11, 13, 14])

    assert machine.may_use[14] == {1}
    assert machine.may_use[13] == {2}


def test_helpers_run_anywhere_again_where_another_program_wants_a_core() -> None:
    machine = Machine()
    machine.cores.keep(HELPERS)
    machine.ended.add(12)

    machine.cores.let_go()

    assert machine.may_use[11] == machine.may_use[13] == {0, 1, 2, 3}
    machine.core = 0
    machine.cores.make_room()
    assert machine.may_use[11] == {0, 1, 2, 3}, "nobody is tied any more"


def test_nothing_is_tied_on_a_machine_with_more_cores() -> None:
    machine = Machine(threads=3)

    machine.cores.keep(HELPERS[:2])
    machine.cores.make_room()

    assert machine.may_use == {}


def test_threads_are_tied_while_they_spin_and_let_go_in_a_crowd() -> None:
    machine, waited_ns, now_ns = Machine(), [0], 0
    watch = SpinWatch(
        Team(),
        threads=4,
        waited_ns=lambda: waited_ns[0],
        now_ns=0,
        cores=machine.cores,
        helpers=lambda: HELPERS,
    )
    watch.look(now_ns, is_read=True)
    assert machine.may_use[11] == {0}

    for _ in range(CROWDED_LOOKS):
        now_ns += LOOK_NS
        waited_ns[0] += 4 * LOOK_NS
        watch.look(now_ns, is_read=True)

    assert machine.may_use[11] == {0, 1, 2, 3}


@pytest.mark.skipif(not Path("/proc/self/schedstat").is_file(), reason="only Linux tells waits")
def test_a_decode_on_all_cores_has_its_helpers_on_cores_of_their_own(nano_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("one core")
    with engine(nano_path, threads=len(cores)) as running:
        running.ready()
        running.generate(1, prompt_ids=(5, 6, 7, 8), max_tokens=400, ignore_eos=True)
        tasks = Path(f"/proc/{running.process.pid}/task")
        named = [
            int(task.name)
            for task in tasks.iterdir()
            if (task / "comm").read_text().strip() == "umad-step"
        ]
        allowed = {thread: os.sched_getaffinity(thread) for thread in named}

    step = allowed.pop(running.process.pid)
    assert step == cores, "threads that it starts run anywhere"
    assert len(allowed) == len(cores) - 1
    for own in allowed.values():
        # A crowd of other tests may have let all of them go.
        assert own == cores or len(own) == 1
