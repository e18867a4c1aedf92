"""A long interactive prompt with the device to itself: large slices, which an arrival cuts."""

from tests.scheduler.fake_device import Bench, device_ms


def test_it_is_read_in_larger_slices_than_one_that_somebody_would_have_to_wait_for() -> None:
    bench = Bench()
    bench.arrive(1, 2000, 5, app="agent")

    plans = bench.run(5)

    assert all(plan.cuttable and not plan.background for plan in plans)
    assert all(bench.settings.slice_ms < device_ms(plan) <= 1.1 * 1_000.0 for plan in plans), (
        "and none keeps its app waiting for a word of progress for more than a second"
    )


def test_whoever_comes_meanwhile_cuts_it_and_goes_first() -> None:
    bench = Bench()
    bench.arrive(1, 2000, 5, app="agent")
    bench.run(2)
    came_ns = bench.now_ns

    bench.cut_next(after_ms=10.0, by=lambda: bench.arrive(2, 20, 1, app="editor"))
    bench.run(1)

    assert list(bench.ended) == [2]
    assert bench.now_ns - came_ns < 130e6, "its own 20 tokens take 102 ms"


def test_what_was_cut_is_computed_again_and_nothing_twice() -> None:
    bench = Bench()
    bench.arrive(1, 1000, 5, app="agent")
    bench.run(1)
    reached = bench.plans[-1].n_rows
    bench.cut_next(after_ms=10.0)
    while 1 not in bench.ended:
        bench.step()

    starts = [piece.start for plan in bench.plans for piece in plan.prefill]
    assert starts[1] == reached
    assert sum(piece.n_tokens for plan in bench.plans for piece in plan.prefill) == 1000
    assert bench.tokens[1] == 5


def test_where_arrivals_keep_cutting_it_its_slices_are_as_small_as_without_cuts() -> None:
    bench = Bench(n_cells=2**16)
    bench.arrive(1, 40_000, 5, app="agent")
    for _ in range(60):
        plan = bench.scheduler.plan(bench.now_ns)
        if not plan.cuttable:
            break
        bench.cut_next(after_ms=200.0)

    plan = bench.step()

    assert not plan.cuttable, "it always gets somewhere"
    assert device_ms(plan) <= 1.2 * bench.settings.slice_ms


def test_a_short_prompt_is_never_cut() -> None:
    bench = Bench()
    bench.arrive(1, 40, 5, app="editor")

    assert not bench.step().cuttable


def test_while_another_waits_for_its_first_token_slices_stay_small() -> None:
    bench = Bench()
    bench.arrive(1, 2000, 5, app="agent")
    bench.arrive(2, 2000, 5, app="other")

    plans = bench.run(8)

    assert not any(plan.cuttable for plan in plans)
    assert all(device_ms(plan) <= 1.2 * bench.settings.slice_ms for plan in plans)


def test_where_a_running_step_cannot_be_cut_slices_stay_small() -> None:
    bench = Bench(cut_share=1.0)
    bench.arrive(1, 2000, 5, app="agent")

    plans = bench.run(5)

    assert not any(plan.cuttable for plan in plans)
    assert all(device_ms(plan) <= 1.2 * bench.settings.slice_ms for plan in plans)
