"""What readers felt, by the scorecard: gaps, first tokens, the guard; worked out by hand."""

from typing import Any

import pytest

from tests.metrics.machine import Machine, stream


def test_quantiles_are_nearest_rank_over_the_gaps_between_tokens() -> None:
    machine = Machine()
    machine.accept(1)

    stream(machine, 1, [float(gap) for gap in range(1, 21)])  # 1, 2, … 20 ms

    card = machine.read()
    assert card["p50_ms"] == 10
    assert card["p95_ms"] == 19
    assert card["p99_ms"] == 20
    assert card["max_ms"] == 20


def test_the_wait_for_the_first_token_is_ttft_and_no_gap() -> None:
    machine = Machine()
    for rid, wait_ms in ((1, 100.0), (2, 300.0), (3, 200.0)):
        machine.accept(rid)
        machine.wait(wait_ms)
        machine.tokens(rid)

    card = machine.read()

    assert card["ttft_p50_ms"] == 200
    assert card["ttft_p95_ms"] == 300
    assert card["p50_ms"] is None


def test_tokens_that_arrive_together_are_one_wait_and_not_several_short_ones() -> None:
    machine = Machine()
    machine.accept(1)
    machine.tokens(1)
    machine.wait(90)
    machine.tokens(1, 3)

    card = machine.read()

    assert (card["p50_ms"], card["max_ms"]) == (90, 90)
    assert card["lanes"]["interactive"]["tokens"] == 4


def test_messages_that_were_read_at_once_are_one_wait_too() -> None:
    machine = Machine()
    machine.accept(1)
    stream(machine, 1, [90.0, 0.01, 0.01, 0.01])

    card = machine.read()

    assert (card["p50_ms"], card["max_ms"]) == (90, 90)
    assert card["apps"]["app"]["tokens"] == 5


def test_background_gaps_do_not_count_as_interactive_latency() -> None:
    machine = Machine()
    machine.accept(1)
    machine.accept(2, lane="background")
    machine.tokens(2)
    stream(machine, 1, [5.0, 5.0])
    machine.wait(990)
    machine.tokens(2)

    card = machine.read()

    assert card["max_ms"] == 5
    assert card["lanes"]["background"]["max_ms"] == 1000
    assert card["lanes"]["background"]["p95_over_solo"] is None


def test_a_pause_that_the_client_caused_is_no_gap() -> None:
    machine = Machine()
    machine.accept(1)
    stream(machine, 1, [5.0])
    machine.card.paused(1)
    machine.wait(5000)
    machine.card.resumed(1)
    machine.wait(20)
    machine.tokens(1)
    machine.wait(7)
    machine.tokens(1)

    card = machine.read()

    assert card["max_ms"] == 7


def test_a_token_that_was_on_its_way_does_not_end_the_pause() -> None:
    machine = Machine()
    machine.accept(1)
    stream(machine, 1, [5.0])
    machine.card.paused(1)
    machine.wait(3)
    machine.tokens(1)
    machine.wait(5000)
    machine.card.resumed(1)
    machine.tokens(1)

    card = machine.read()

    assert card["max_ms"] == 5


def test_solo_is_the_95th_percentile_of_what_the_same_tokens_would_have_cost_alone() -> None:
    machine = Machine()
    machine.accept(1)
    machine.tokens(1)
    for n in range(20):
        machine.wait(30)
        machine.solo_ms = float(n + 1)
        machine.tokens(1)

    card = machine.read()

    assert card["solo_ms"] == 19


def test_every_gap_is_held_against_what_its_own_step_would_have_cost() -> None:
    """Nine in ten steps are short; a newcomer's prompt makes the tenth long, and is no delay."""
    machine = Machine(latency_cap=1.2)
    machine.accept(1)
    machine.tokens(1)
    for n in range(100):
        machine.solo_ms = 30.0 if n % 10 == 0 else 10.0
        machine.wait(1.1 * machine.solo_ms)
        machine.tokens(1)
    held = machine.read()
    for _ in range(10):
        machine.wait(30)  # as long as others were, but for no reason of its own
        machine.tokens(1)

    late = machine.read()

    assert (held["p95_over_solo"], held["over_cap_pct"], held["guard_held"]) == (1.1, 0.0, True)
    assert late["solo_ms"] == held["solo_ms"] == 30
    assert late["over_cap_pct"] == round(100 * 10 / 110, 4)
    assert late["guard_held"] is False


def test_what_the_machine_does_to_a_stream_by_itself_is_told_apart() -> None:
    machine = Machine(latency_cap=1.2)
    machine.accept(1)
    machine.tokens(1)
    machine.solo_ms = 10.0
    for n in range(20):
        machine.carried = n % 2 == 0
        # Three of ten gaps with background work in their step are long, and one of ten without.
        machine.wait(30 if n in (0, 2, 4, 5) else 10)
        machine.tokens(1)

    card = machine.read()

    assert card["over_cap_pct"] == 20
    assert card["over_cap_alone_pct"] == 10


@pytest.mark.parametrize(
    ("solo_ms", "gaps_ms", "held"),
    [
        (1.5, [2.5] * 100, True),  # 1 ms late, which a cap of 1.2 allows a step of 5 ms
        (1.5, [1.5] * 94 + [2.6] * 6, False),
        (1.5, [1.5] * 99 + [11.5], True),
        (1.5, [1.5] * 99 + [11.6], False),
        (5.0, [6.0] * 100, True),
        (5.0, [6.1] * 100, False),
        (22.0, [26.5] * 100, False),  # as ever
    ],
)
def test_steps_too_short_to_tell_are_judged_with_the_slack_of_longer_ones(
    solo_ms: float, gaps_ms: list[float], held: bool
) -> None:
    machine = Machine(latency_cap=1.2)
    machine.accept(1)
    machine.solo_ms = solo_ms
    machine.wait(100)
    stream(machine, 1, gaps_ms)

    card = machine.read()

    assert card["guard_held"] is held
    assert card["max_over_solo"] == pytest.approx(max(gaps_ms) / solo_ms, abs=1e-4), "told as it is"


def test_tokens_per_second_count_at_the_cap_only_while_p95_stays_under_it() -> None:
    def run(gap_ms: float) -> dict[str, Any]:
        machine = Machine(latency_cap=1.2)
        machine.accept(1)
        machine.solo_ms = 10.0
        stream(machine, 1, [gap_ms] * 10)
        return machine.read()

    under, over = run(12.0), run(12.5)

    assert under["tokens_per_s_at_cap"] == under["tokens_per_s"] == round(11 / 0.120, 4)
    assert over["tokens_per_s_at_cap"] == 0
    assert over["tokens_per_s"] == 11 / 0.125
    assert over["latency_cap"] == 1.2


@pytest.mark.parametrize(
    ("gaps_ms", "ratios", "held"),
    [
        ([10.0] * 99 + [11.0], (1.0, 1.0, 1.1), True),
        ([10.0] * 94 + [12.0] * 6, (1.2, 1.2, 1.2), True),
        ([10.0] * 94 + [12.5] * 6, (1.25, 1.25, 1.25), False),
        ([10.0] * 98 + [21.0] * 2, (1.0, 2.1, 2.1), False),
        ([10.0] * 99 + [30.0], (1.0, 1.0, 3.0), True),
        ([10.0] * 99 + [30.1], (1.0, 1.0, 3.01), False),
    ],
)
def test_the_guard_is_held_while_p95_p99_and_the_longest_gap_are_within_their_bounds(
    gaps_ms: list[float], ratios: tuple[float, ...], held: bool
) -> None:
    machine = Machine(latency_cap=1.2)
    machine.accept(1)
    machine.solo_ms = 10.0
    machine.wait(100)
    stream(machine, 1, gaps_ms)

    card = machine.read()

    names = ("p95_over_solo", "p99_over_solo", "max_over_solo")
    assert tuple(card[name] for name in names) == ratios
    assert card["guard_held"] is held
    assert card["apps"]["app"]["guard_held"] is held


def test_an_app_is_held_to_its_own_cap() -> None:
    machine = Machine(latency_cap=1.2)
    machine.accept(1, app="zed", cap=1.1)
    machine.accept(2, app="code")
    machine.solo_ms = 10.0
    for rid in (1, 2):
        stream(machine, rid, [11.5] * 10)

    apps = machine.read()["apps"]

    assert (apps["zed"]["latency_cap"], apps["zed"]["guard_held"]) == (1.1, False)
    assert (apps["code"]["latency_cap"], apps["code"]["guard_held"]) == (1.2, True)


def test_nothing_is_said_of_the_guard_without_interactive_tokens() -> None:
    machine = Machine()
    machine.accept(1, lane="background")
    stream(machine, 1, [100.0] * 10)

    card = machine.read()

    assert card["guard_held"] is None
    assert card["lanes"]["background"]["guard_held"] is None


def test_background_tokens_count_when_nobody_interactive_is_there() -> None:
    machine = Machine()
    machine.accept(1, lane="background")
    stream(machine, 1, [100.0] * 10)

    assert machine.read()["tokens_per_s_at_cap"] == 11


def test_what_is_older_than_the_window_is_forgotten() -> None:
    machine = Machine()
    machine.accept(1)
    stream(machine, 1, [500.0])
    machine.end(1)
    machine.wait(9_999)
    assert machine.read()["max_ms"] == 500

    machine.wait(1)

    card = machine.read()
    assert card["max_ms"] is None
    assert card["requests"] == 0
    assert card["apps"] == {}


def test_rates_are_over_the_window_and_over_less_while_it_fills() -> None:
    machine = Machine()
    machine.accept(1)
    stream(machine, 1, [1000.0] * 4)
    assert machine.read()["tokens_per_s"] == 5 / 4

    for _ in range(20):
        machine.wait(1000)
        machine.tokens(1)

    assert machine.read()["tokens_per_s"] == 1


def test_an_idle_scorecard_has_every_field_and_claims_nothing() -> None:
    card = Machine().read()

    assert card["tokens_per_s_at_cap"] == 0
    for name in ("p95_ms", "solo_ms", "scheduler_efficiency", "gpu_idle_pct", "copy_free_ratio"):
        assert card[name] is None


def test_the_gap_in_which_a_client_chose_is_its_own() -> None:
    machine = Machine()
    machine.accept(1)
    machine.wait(10)
    machine.tokens(1)
    machine.wait(10)
    machine.tokens(1)
    machine.card.awaits_client(1, machine.now_ns)
    machine.wait(4000)
    machine.card.goes_on(1, machine.now_ns)
    machine.tokens(1)

    assert machine.read()["p99_ms"] == 10
