import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umad.errors import InternalError
from umad.protocol.lifecycle import FINAL, NEXT, LifecycleEvent, LifecycleState, advance
from umad.state_table import ImpossibleTransition

LIVE = [state for state in LifecycleState if state not in FINAL]


@pytest.mark.parametrize("state", sorted(FINAL, key=str))
@pytest.mark.parametrize("event", LifecycleEvent)
def test_nothing_happens_to_a_completion_that_has_ended(
    state: LifecycleState, event: LifecycleEvent
) -> None:
    with pytest.raises(ImpossibleTransition, match=f"{event.value} in state {state.value}"):
        advance(state, event)


@pytest.mark.parametrize("state", LIVE)
@pytest.mark.parametrize("event", LifecycleEvent)
def test_a_live_completion_has_an_answer_to_everything(
    state: LifecycleState, event: LifecycleEvent
) -> None:
    assert advance(state, event) in LifecycleState


@pytest.mark.parametrize("state", LIVE)
def test_every_live_completion_can_be_cancelled_and_then_ends(state: LifecycleState) -> None:
    cancelled = advance(state, LifecycleEvent.CANCEL)

    assert cancelled is LifecycleState.CANCELLING
    assert advance(cancelled, LifecycleEvent.ENDED) is LifecycleState.DONE
    assert advance(cancelled, LifecycleEvent.ENGINE_LOST) is LifecycleState.DONE


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                LifecycleEvent.PREFILLED,
                LifecycleEvent.TOKENS,
                LifecycleEvent.RESUME,
                LifecycleEvent.PAUSE,
            ]
        )
    )
)
def test_a_cancelled_completion_never_runs_again(late_news: list[LifecycleEvent]) -> None:
    state = LifecycleState.CANCELLING

    for event in late_news:
        state = advance(state, event)

    assert state is LifecycleState.CANCELLING


@pytest.mark.parametrize(
    "state", [LifecycleState.QUEUED, LifecycleState.PREFILL, LifecycleState.GENERATING]
)
def test_a_lost_engine_costs_a_running_completion_its_place_and_not_its_life(
    state: LifecycleState,
) -> None:
    assert advance(state, LifecycleEvent.ENGINE_LOST) is LifecycleState.QUEUED


def test_a_paused_completion_stays_paused_until_its_client_reads_again() -> None:
    paused = advance(LifecycleState.GENERATING, LifecycleEvent.PAUSE)

    for news in (
        LifecycleEvent.TOKENS,
        LifecycleEvent.PREFILLED,
        LifecycleEvent.ENGINE_LOST,
        LifecycleEvent.PAUSE,
    ):
        assert advance(paused, news) is LifecycleState.PAUSED
    resumed = advance(paused, LifecycleEvent.RESUME)
    assert advance(resumed, LifecycleEvent.TOKENS) is LifecycleState.GENERATING


def test_every_state_is_reached_and_every_event_used() -> None:
    assert set(NEXT.values()) | {LifecycleState.QUEUED} == set(LifecycleState)
    assert {event for _, event in NEXT} == set(LifecycleEvent)


def test_an_impossible_transition_is_a_bug_with_a_name() -> None:
    assert issubclass(ImpossibleTransition, InternalError)
