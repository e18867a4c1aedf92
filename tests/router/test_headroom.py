"""The room that a node has, by what it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.router.policy import Reading, headroom_of


def test_a_node_that_nobody_uses_has_all_its_room() -> None:
    assert headroom_of(Reading()).least == 1.0


def test_half_way_to_the_cap_is_half_the_room() -> None:
    headroom = headroom_of(Reading(latency_cap=1.2, p95_over_solo=1.1, solo_ms=20))

    assert headroom.least == pytest.approx(0.5)
    assert headroom.narrowest == "p95"


def test_a_node_whose_readers_wait_beyond_the_cap_has_none() -> None:
    assert headroom_of(Reading(p95_over_solo=1.1, solo_ms=20, over_cap_pct=5.1)).least == 0


def test_background_work_that_breaks_the_cap_is_no_excuse() -> None:
    assert headroom_of(Reading(over_cap_pct=9.0, background_share=0.9)).least == 0


def test_background_work_within_the_cap_gives_way_to_a_newcomer() -> None:
    """It fills what the cap and the budget leave, as it should."""
    reading = Reading(
        latency_cap=1.2,
        p95_over_solo=1.2,
        solo_ms=20,
        over_cap_pct=4.0,
        bmt_gbps=100,
        bmt_budget_gbps=100,
        background_share=0.6,
    )

    assert headroom_of(reading).least == 0.25


def test_memory_traffic_leaves_less_room_and_never_none_within_the_budget() -> None:
    """One stream alone moves what the machine can read; another one shares its weights."""
    half = headroom_of(Reading(bmt_gbps=50, bmt_budget_gbps=100))
    whole = headroom_of(Reading(bmt_gbps=100, bmt_budget_gbps=100))

    assert (half.least, half.narrowest) == (0.5, "traffic")
    assert whole.least == 0.25


def test_interactive_work_beyond_the_owners_budget_leaves_no_room() -> None:
    assert headroom_of(Reading(bmt_gbps=120, bmt_budget_gbps=100)).least == 0


def test_steps_of_a_tiny_model_are_judged_with_the_slack_of_useful_ones() -> None:
    """As the scorecard judges them: 0.5 ms late is half of the millisecond that a 5 ms step has."""
    assert headroom_of(Reading(p95_over_solo=1.5, solo_ms=1.0)).p95 == pytest.approx(0.5)


def test_a_queue_halves_the_room_and_full_cells_leave_none() -> None:
    assert headroom_of(Reading(waiting=1)).least == 0.5
    assert headroom_of(Reading(kv_used=1.0)).least == 0


def test_many_streams_leave_less_room_before_anybody_waits_in_line() -> None:
    """Each waits longer than it would at a node where little runs, though none beyond its solo."""
    reading = Reading(latency_cap=1.2, solo_ms=22, p95_over_solo=1.0, token_ms_of={"m": 22})

    assert headroom_of(reading, {"m": 20}).least == pytest.approx(0.5)
    assert headroom_of(reading, {"m": 10}).least == 0.25, "it may be a long conversation"
    assert headroom_of(reading, {"other": 1}).least == 1


known = st.none() | st.floats(0, 1e6)


@given(
    reading=st.builds(
        Reading,
        latency_cap=st.floats(1, 1e6),
        p95_over_solo=known,
        solo_ms=known,
        over_cap_pct=st.none() | st.floats(0, 100),
        bmt_gbps=known,
        bmt_budget_gbps=known,
        background_share=st.floats(0, 1),
        waiting=st.integers(0, 10**9),
        kv_used=st.floats(0, 1),
        token_ms_of=st.dictionaries(st.sampled_from(["m", "n"]), st.floats(1e-6, 1e6)),
    )
)
def test_whatever_a_node_says_its_room_is_from_none_to_all(reading: Reading) -> None:
    headroom = headroom_of(reading)

    light = headroom_of(reading, {"m": 0.001, "n": 1e6})
    assert 0 <= light.least <= headroom.least
    assert all(0 <= part <= 1 for part in (headroom.p95, headroom.traffic, headroom.queue))
    assert 0 <= headroom.least <= 1
