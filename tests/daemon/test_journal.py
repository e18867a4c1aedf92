"""The journal: what a restarted engine is handed."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umad.daemon import journal as journal_module
from umad.daemon.journal import Journal, JournalEntry
from umad.errors import QueueFull
from umad.protocol.lifecycle import LifecycleEvent, LifecycleState
from umad.protocol.link import Ended, Submit
from umad.request import SamplingParams


def submit(rid: int = 1, *, max_tokens: int = 10, prompt: str = "a prompt") -> Submit:
    return Submit(
        rid=rid,
        sampling=SamplingParams(seed=7, max_tokens=max_tokens),
        lane="interactive",
        app="editor",
        prompt=prompt,
    )


def add(journal: Journal[str], rid: int = 1, **overrides: Any) -> JournalEntry[str]:
    return journal.add(submit(rid, **overrides), owner="me", index=0)


def test_a_replay_carries_every_token_that_was_received_in_order() -> None:
    journal = Journal[str]()
    entry = add(journal)
    entry.ids.extend((5, 6))
    entry.ids.extend((7,))

    replayed = journal.replay(entry)

    assert isinstance(replayed, Submit)
    assert replayed.resume == (5, 6, 7)
    assert replayed.rid == entry.rid
    assert replayed.sampling.seed == 7


def test_a_completion_that_had_all_its_tokens_ends_instead_of_being_replayed() -> None:
    journal = Journal[str]()
    entry = add(journal, max_tokens=3)
    journal.advance(entry, LifecycleEvent.TOKENS)
    entry.ids.extend((1, 2, 3))
    entry.prompt_tokens = 4

    (ended,) = journal.engine_lost()

    assert ended == Ended(
        rid=1, reason="length", prompt_tokens=4, cached_tokens=0, completion_tokens=3
    )


def test_a_cancelled_completion_is_never_handed_to_the_next_engine() -> None:
    journal = Journal[str]()
    entry = add(journal)
    journal.advance(entry, LifecycleEvent.CANCEL)

    (ended,) = journal.engine_lost()

    assert ended.reason == "cancelled"


def test_a_change_of_lane_survives_the_engine() -> None:
    journal = Journal[str]()
    entry = add(journal)

    journal.set_lane(entry, "background")

    replayed = journal.replay(entry)
    assert isinstance(replayed, Submit)
    assert replayed.lane == "background"


def test_a_paused_completion_is_still_paused_for_the_next_engine() -> None:
    journal = Journal[str]()
    entry = add(journal)
    journal.advance(entry, LifecycleEvent.TOKENS)
    journal.advance(entry, LifecycleEvent.PAUSE)

    ended = journal.engine_lost()

    assert ended == []
    assert entry.state is LifecycleState.PAUSED
    assert journal.n_paused == 1
    assert journal.n_waiting == 1


def test_more_prompt_than_the_journal_may_hold_is_refused_and_can_be_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_module, "MAX_PROMPT_BYTES", 100)
    journal = Journal[str]()
    entry = add(journal, 1, prompt="x" * 60)

    with pytest.raises(QueueFull):
        journal.check_room(submit(2, prompt="x" * 60), 1)

    journal.advance(entry, LifecycleEvent.ENDED)
    journal.check_room(submit(2, prompt="x" * 60), 1)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), n_steps=st.integers(1, 120))
def test_the_counts_agree_with_a_recount_whatever_happens(seed: int, n_steps: int) -> None:
    draw = random.Random(seed)
    journal = Journal[str]()
    usual = [
        LifecycleEvent.PREFILLED,
        LifecycleEvent.TOKENS,
        LifecycleEvent.PAUSE,
        LifecycleEvent.RESUME,
        LifecycleEvent.CANCEL,
        LifecycleEvent.ENDED,
    ]

    for rid in range(n_steps):
        live = list(journal)
        choice = draw.random()
        if choice < 0.3 or not live:
            add(journal, rid)
        elif choice < 0.35:
            for ended in journal.engine_lost():
                entry = journal.get(ended.rid)
                assert entry is not None
                journal.advance(entry, LifecycleEvent.ENDED)
        else:
            journal.advance(draw.choice(live), draw.choice(usual))

        entries = list(journal)
        assert journal.n_paused == sum(e.state is LifecycleState.PAUSED for e in entries)
        assert journal.n_waiting == sum(not e.started for e in entries)
        assert journal.prompt_bytes == sum(e.size_bytes for e in entries)
        assert len(journal) == len(entries)
