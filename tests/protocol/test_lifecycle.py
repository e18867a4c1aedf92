import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umad.errors import InternalError
from umad.protocol.lifecycle import FINAL, NEXT, Event, State, advance
from umad.state_table import ImpossibleTransition

LIVE = [state for state in State if state not in FINAL]


@pytest.mark.parametrize("state", sorted(FINAL, key=str))
@pytest.mark.parametrize("event", Event)
def test_nothing_happens_to_a_completion_that_has_ended(state: State, event: Event) -> None:
    with pytest.raises(ImpossibleTransition, match=f"{event.value} in state {state.value}"):
        advance(state, event)


@pytest.mark.parametrize("state", LIVE)
@pytest.mark.parametrize("event", Event)
def test_a_live_completion_has_an_answer_to_everything(state: State, event: Event) -> None:
    assert advance(state, event) in State


@pytest.mark.parametrize("state", LIVE)
def test_every_live_completion_can_be_cancelled_and_then_ends(state: State) -> None:
    cancelled = advance(state, Event.CANCEL)

    assert cancelled is State.CANCELLING
    assert advance(cancelled, Event.ENDED) is State.DONE
    assert advance(cancelled, Event.ENGINE_LOST) is State.DONE


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([Event.PREFILLED, Event.TOKENS, Event.RESUME, Event.PAUSE])))
def test_a_cancelled_completion_never_runs_again(late_news: list[Event]) -> None:
    state = State.CANCELLING

    for event in late_news:
        state = advance(state, event)

    assert state is State.CANCELLING


@pytest.mark.parametrize("state", [State.QUEUED, State.PREFILL, State.GENERATING])
def test_a_lost_engine_costs_a_running_completion_its_place_and_not_its_life(state: State) -> None:
    assert advance(state, Event.ENGINE_LOST) is State.QUEUED


def test_a_paused_completion_stays_paused_until_its_client_reads_again() -> None:
    paused = advance(State.GENERATING, Event.PAUSE)

    for news in (Event.TOKENS, Event.PREFILLED, Event.ENGINE_LOST, Event.PAUSE):
        assert advance(paused, news) is State.PAUSED
    resumed = advance(paused, Event.RESUME)
    assert advance(resumed, Event.TOKENS) is State.GENERATING


def test_every_state_is_reached_and_every_event_used() -> None:
    assert set(NEXT.values()) | {State.QUEUED} == set(State)
    assert {event for _, event in NEXT} == set(Event)


def test_an_impossible_transition_is_a_bug_with_a_name() -> None:
    assert issubclass(ImpossibleTransition, InternalError)
