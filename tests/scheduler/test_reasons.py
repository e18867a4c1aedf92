"""Why a request waits, as `umad ps` says it."""

import numpy as np
import pytest

from tests.scheduler.budgeted_device import HALF, SECOND, Device, limited
from tests.scheduler.fake_device import Bench
from umad.config import SchedulerSettings
from umad.scheduler import Neighbours
from umad.scheduler.memory.parked_store import ParkShape
from umad.step import StepPlan


def waits_while_held(device: Device, monkeypatch: pytest.MonkeyPatch) -> list[dict[int, str]]:
    """The reasons at every plan that leaves the device idle though there is work, for a second."""
    found: list[dict[int, str]] = []
    make_plan = device.scheduler.plan

    def plan(now_ns: int) -> StepPlan:
        made = make_plan(now_ns)
        if made.wait_ms:
            found.append(device.scheduler.waits(now_ns))
        return made

    monkeypatch.setattr(device.scheduler, "plan", plan)
    device.run_until(SECOND)
    return found


def test_what_runs_waits_for_nothing() -> None:
    bench = Bench()
    bench.arrive(1, 20, 50)

    bench.run(5)

    assert bench.scheduler.waits(bench.now_ns) == {}


def test_a_request_that_does_not_fit_waits_for_cells() -> None:
    bench = Bench(n_cells=256)
    bench.arrive(1, 20, 200)
    bench.run(2)

    bench.arrive(2, 20, 200, app="other")
    bench.step()

    assert bench.scheduler.waits(bench.now_ns) == {2: "no cells"}


def test_later_requests_of_an_app_say_how_many_stand_before_them() -> None:
    bench = Bench(max_seqs=1)
    for rid in range(1, 5):
        bench.arrive(rid, 20, 50)

    bench.run(3)

    assert bench.scheduler.waits(bench.now_ns) == {
        2: "as many run as may at once",
        3: "behind 1 of its app",
        4: "behind 2 of its app",
    }


def test_background_work_waits_for_the_guard_beside_a_stream() -> None:
    bench = Bench()
    bench.arrive(1, 20, 500)
    bench.run(30)
    bench.arrive(2, 2_000, 5, lane="background", app="index")

    seen = set()
    for _ in range(30):
        bench.step()
        seen.add(bench.scheduler.waits(bench.now_ns).get(2))

    assert seen == {"guard", None}, "held by most steps, carried by some"


def test_a_first_token_waits_for_the_streams_beside_which_its_prompt_is_read() -> None:
    bench = Bench()
    for rid in (1, 2, 3):
        bench.arrive(rid, 20, 400)
    bench.run(5)
    bench.arrive(4, 60, 10, app="editor")
    bench.arrive(5, 200, 10, app="agent")

    bench.step()
    waits = bench.scheduler.waits(bench.now_ns)
    while not bench.tokens[4]:
        bench.step()

    assert waits == {4: "3 streams beside its prompt", 5: "a prompt of an interactive request"}
    assert 4 not in bench.scheduler.waits(bench.now_ns)


def test_background_work_waits_for_an_interactive_prompt() -> None:
    bench = Bench()
    bench.arrive(1, 50, 200, lane="background", app="index")
    bench.run(5)

    bench.arrive(2, 3_000, 5)
    bench.step()

    assert bench.scheduler.waits(bench.now_ns) == {1: "a prompt of an interactive request"}


def test_of_two_interactive_prompts_one_waits_for_the_other() -> None:
    bench = Bench(settings=SchedulerSettings(slice_ms=100))
    bench.arrive(1, 3_000, 5)
    bench.arrive(2, 500, 5, app="other")

    bench.step()

    assert bench.scheduler.waits(bench.now_ns) == {1: "a prompt of an interactive request"}


def test_background_work_waits_for_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(budget=limited(HALF))
    device.arrive(1, lane="background")

    found = waits_while_held(device, monkeypatch)

    assert found
    assert all(waits == {1: "budget"} for waits in found)


def test_background_work_waits_for_another_models_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(next_door=Neighbours(interactive=True))
    device.arrive(1, lane="background")

    found = waits_while_held(device, monkeypatch)

    assert found
    assert all(waits == {1: "another model is busy"} for waits in found)


def test_a_request_whose_client_does_not_read_waits_for_it() -> None:
    bench = Bench()
    bench.arrive(1, 20, 50)
    bench.run(3)

    bench.scheduler.pause(1)
    bench.step()

    assert bench.scheduler.waits(bench.now_ns) == {1: "its client"}


def test_a_request_waits_for_its_sessions_file() -> None:
    parking = ParkShape(capacity_bytes=64 * 2**20, slice_cells=256, slab_bytes=2**20)
    rng = np.random.default_rng(1)
    said = rng.integers(0, 1000, 600).astype(np.int32)
    bench = Bench(parking=parking, saved={"chat": said}, slab_ms=0.1)

    bench.arrive(1, 0, 5, prompt=[*said.tolist(), 1, 2, 3], session="chat")
    bench.step()

    assert bench.scheduler.waits(bench.now_ns) == {1: "its session is being read from disk"}


def test_more_streams_than_a_step_takes_wait_for_their_turn() -> None:
    bench = Bench(settings=SchedulerSettings(max_merge=2))
    for rid in range(1, 5):
        bench.arrive(rid, 10, 200, app=f"app{rid}")
    while len(bench.tokens) < 4:
        bench.step()

    bench.step()

    waits = bench.scheduler.waits(bench.now_ns)
    assert len(waits) == 2
    assert set(waits.values()) == {"the step is full"}
