"""How long a step may be follows from how long an arrival waits for a cut of it."""

from tests.scheduler.fake_device import Bench, device_ms
from umad.config import SchedulerSettings
from umad.scheduler.steps.cut_wait import AFTER_MS, CutWait
from umad.step import StepResult

MOST_MS = 4000.0


def test_a_device_that_always_looks_may_compute_as_long_as_is_of_use() -> None:
    wait = CutWait(0.0)

    assert wait.can_cut
    assert wait.longest_ms(250.0, MOST_MS) == MOST_MS


def test_a_device_that_never_looks_computes_no_longer_than_an_arrival_may_wait() -> None:
    wait = CutWait(1.0)

    assert not wait.can_cut
    assert wait.longest_ms(250.0, MOST_MS) == 250.0


def test_between_layers_steps_are_as_many_times_as_long_as_there_are_layers() -> None:
    assert CutWait(1 / 8).longest_ms(250.0, MOST_MS) == 2000.0


def test_slow_cuts_make_steps_shorter_and_quick_ones_longer_again() -> None:
    wait = CutWait(0.0)

    for _ in range(20):
        wait.learn(800.0, 1600.0)
    slow_ms = wait.longest_ms(250.0, MOST_MS)
    for _ in range(20):
        wait.learn(10.0, 500.0)

    assert slow_ms < 600.0
    assert wait.longest_ms(250.0, MOST_MS) == MOST_MS
    assert wait.ms is not None
    assert wait.ms < AFTER_MS


def test_what_follows_a_cut_of_any_length_says_nothing_of_the_device() -> None:
    wait = CutWait(0.0)

    for _ in range(20):
        wait.learn(AFTER_MS, 20.0)

    assert wait.longest_ms(250.0, MOST_MS) == MOST_MS


def test_luck_does_not_make_steps_longer_than_the_device_can_be_cut() -> None:
    wait = CutWait(0.25)

    for _ in range(20):
        wait.learn(1.0, 4000.0)

    assert wait.longest_ms(250.0, MOST_MS) == 1000.0


def longest_slice(bench: Bench) -> float:
    bench.arrive(1, 3000, 4, lane="background")
    return max(device_ms(plan) for plan in bench.run(4) if plan.prefill)


def test_background_slices_follow_from_the_share() -> None:
    settings = SchedulerSettings(slice_ms=100.0)

    uncut, between, always = (
        longest_slice(Bench(cut_share=share, settings=settings)) for share in (1.0, 0.2, 0.0)
    )

    assert uncut <= 110.0
    assert 300.0 < between <= 550.0
    assert always > 1000.0


def test_a_machine_on_which_cuts_are_slow_gets_shorter_slices_by_and_by() -> None:
    bench = Bench(settings=SchedulerSettings(slice_ms=100.0))
    bench.arrive(1, 4000, 4, lane="background")
    before_ms = device_ms(bench.step())

    for _ in range(6):
        plan = bench.scheduler.plan(bench.now_ns)
        waited_ms = plan.predicted_ms / 2
        bench.now_ns += int(plan.predicted_ms * 1e6)
        kept = tuple((piece.seq, piece.start) for piece in plan.prefill)
        cut = StepResult(
            outcome="cut", device_ms=plan.predicted_ms, cut_ms=waited_ms, seq_lengths=kept
        )
        bench.scheduler.apply(plan, cut, bench.now_ns)

    assert before_ms > 1000.0
    assert device_ms(bench.step()) < 400.0
