"""Guesses of a draft model: when it is asked, what it may read, and that nobody is slower by it."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.scheduler.drafted_device import STEP_MS, DraftedDevice, both, words
from umad.media_slices import RowSpan
from umad.scheduler.speculation.drafting import READ_SHARE
from umad.step import StepPlan

# Trying a draft that is of no use takes some steps.
SLACK_MS = 24 * STEP_MS


@pytest.mark.parametrize(("draft_ms", "times"), [(1.0, 2.0), (2.0, 1.6), (4.0, 1.2)])
def test_a_good_draft_makes_a_text_faster_the_quicker_it_is(draft_ms: float, times: float) -> None:
    plain, drafted = both(40, 600, draft_ms=draft_ms)

    assert plain.now_ms > times * drafted.now_ms


def test_a_draft_that_is_as_slow_as_its_target_is_left_alone() -> None:
    plain, drafted = both(40, 600, draft_ms=STEP_MS)

    assert drafted.n_drafted == 0
    assert drafted.now_ms <= (1 + READ_SHARE) * plain.now_ms


@pytest.mark.parametrize("right", [0.0, 0.1])
def test_a_draft_that_guesses_badly_is_given_up(right: float) -> None:
    plain, drafted = both(40, 600, draft_ms=2.0, right=right)

    assert drafted.now_ms <= (1 + READ_SHARE) * plain.now_ms + SLACK_MS
    assert sum(bool(plan.guesses) for plan in drafted.plans[-200:]) < 20


def test_a_draft_that_is_slower_than_it_was_taken_for_is_found_out() -> None:
    plain, drafted = both(40, 600, draft_ms=20.0, believed_ms=0.5)

    assert drafted.now_ms <= (1 + READ_SHARE) * plain.now_ms + SLACK_MS


@example(draft_ms=9.0, believed_ms=1.0, right=0.0, row_ms=5.0, n_prompt=300, n_answer=300)
@given(
    draft_ms=st.floats(0.2, 30.0),
    believed_ms=st.floats(0.2, 30.0),
    right=st.floats(0.0, 1.0),
    row_ms=st.floats(0.1, 20.0),
    n_prompt=st.sampled_from([10, 300]),
    n_answer=st.sampled_from([5, 300]),
)
@settings(max_examples=15, deadline=None)
def test_no_draft_makes_a_text_much_slower(
    draft_ms: float, believed_ms: float, right: float, row_ms: float, n_prompt: int, n_answer: int
) -> None:
    plain, drafted = both(
        n_prompt,
        n_answer,
        draft_ms=draft_ms,
        believed_ms=believed_ms,
        right=right,
        row_ms=row_ms,
    )

    # A first estimate of what reading takes may be wrong, once.
    once_ms = 64 * 0.2 * draft_ms + draft_ms
    assert drafted.now_ms <= (1.01 + READ_SHARE) * plain.now_ms + SLACK_MS + once_ms


def test_an_answer_that_ends_at_once_has_waited_for_little_reading() -> None:
    plain, drafted = both(1000, 4, draft_ms=4.0)

    assert drafted.read_ms <= READ_SHARE * plain.now_ms
    assert drafted.now_ms <= (1 + READ_SHARE) * plain.now_ms


def test_reading_never_keeps_a_step_longer_than_a_second_one() -> None:
    _, drafted = both(2000, 400, draft_ms=1.0)

    assert drafted.n_drafted > 0
    reading = [plan for plan in drafted.plans if plan.draft_ms and not plan.n_guesses]
    assert reading
    assert max(plan.draft_ms for plan in reading) <= 1.1 * STEP_MS


def test_what_stands_in_the_text_is_not_asked_of_the_draft() -> None:
    device = DraftedDevice(draft_ms=4.0, right=0.9)
    before = words(1, 300)
    device.arrive(1, before + before, n_prompt=330)

    device.run()

    from_text = sum(
        len(one.tokens) for plan in device.plans for one in plan.guesses if not one.drafted
    )
    assert from_text > 5 * device.n_drafted


def test_a_request_that_wants_no_guesses_is_not_drafted() -> None:
    device = DraftedDevice(draft_ms=1.0)
    device.arrive(1, words(1, 200), 40, speculates=False)

    device.run()

    assert not device.orders


def test_a_text_with_images_is_not_drafted() -> None:
    device = DraftedDevice(draft_ms=1.0)
    device.arrive(1, words(1, 200), 40)
    device.scheduler._entries[1].spans = (RowSpan(run=0, start=5, n_cells=4, is_atomic=True),)

    assert device.scheduler.speculator is not None
    assert device.scheduler.speculator.drafting is not None
    assert device.scheduler.speculator.drafting.stream(device.scheduler._entries[1]) is None


def test_a_draft_without_room_for_a_text_is_asked_no_more() -> None:
    device = DraftedDevice(draft_ms=1.0, n_held_most=-1)
    device.arrive(1, words(1, 300), 40)

    device.run()

    assert len(device.orders) == 1


def test_background_work_is_drafted_only_while_no_interactive_stream_is_there() -> None:
    device = DraftedDevice(draft_ms=1.0)
    device.arrive(1, words(1, 600), 40, lane="background")
    device.arrive(2, words(2, 200), 40)

    device.run()

    def of_background(plan: StepPlan) -> bool:
        return any(one.rid == 1 for one in plan.guesses)

    assert any(map(of_background, device.plans))
    for plan in device.plans:
        if of_background(plan):
            assert {row.rid for row in plan.decode} == {1}


def test_streams_are_drafted_together_and_none_waits_for_another() -> None:
    plain = DraftedDevice(draft_ms=None)
    drafted = DraftedDevice(draft_ms=2.0)
    for device in (plain, drafted):
        for rid in (1, 2, 3):
            device.arrive(rid, words(rid, 340), 40)
        device.run()

    assert any(sum(one.drafted for one in plan.guesses) > 1 for plan in drafted.plans)
    for rid in (1, 2, 3):
        assert drafted.ended_ms[rid] < plain.ended_ms[rid]


def test_time_of_the_draft_is_no_cost_of_rows() -> None:
    _, drafted = both(40, 600, draft_ms=4.0)

    assert drafted.scheduler.cost.solo_ms(1, 300) < 1.1 * STEP_MS


def test_the_time_of_the_draft_is_part_of_what_readers_are_told_a_step_takes() -> None:
    _, drafted = both(40, 300, draft_ms=2.0)

    with_guesses = [plan for plan in drafted.plans if plan.n_guesses]
    assert with_guesses
    for plan in with_guesses:
        assert plan.solo_ms > plan.draft_ms + STEP_MS / 2


def shown_gain(device: DraftedDevice) -> float:
    return device.scheduler.snapshot().guessed.gain


def test_the_gain_that_is_shown_is_that_of_the_drafts_guesses_too() -> None:
    # The text repeats nothing, so all guesses are the draft's.
    plain, drafted = both(40, 600, draft_ms=1.0)

    assert drafted.n_drafted > 0
    assert shown_gain(plain) == 0.0
    whole = plain.now_ms / drafted.now_ms
    assert 0.85 * whole < shown_gain(drafted) < 1.3 * whole


def test_a_draft_that_only_reads_shows_as_a_loss() -> None:
    drafted = DraftedDevice(draft_ms=4.0, right=0.0)
    drafted.arrive(1, words(1, 700), 600)
    while not drafted.read_ms:
        drafted.step()

    assert 0.0 < shown_gain(drafted) < 1.0


def test_the_gain_that_is_shown_has_both_kinds_of_guesses_in_it() -> None:
    """A text that repeats itself for a while, and then says nothing twice."""
    repeats = DraftedDevice(draft_ms=None)
    repeats.arrive(1, [*words(1, 200) * 3], 200)
    repeats.run()
    of_the_text = shown_gain(repeats)
    device = DraftedDevice(draft_ms=1.0, right=0.8)
    device.arrive(1, [*words(1, 200) * 3, *words(2, 300)], 200)

    device.run()

    speculator = device.scheduler.speculator
    assert speculator is not None
    assert speculator.drafting is not None
    assert speculator.gain.ratio > 1.5
    assert speculator.drafting.gain.ratio > 1.0
    # The latest steps count most.
    assert 1.0 < shown_gain(device) < of_the_text
