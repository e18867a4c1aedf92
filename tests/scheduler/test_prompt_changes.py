"""Prompts that change early from turn to turn are found; those that only grow are not."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.scheduler.fake_device import Bench
from umad.scheduler.prompt_changes import (
    FORGET_AFTER,
    MOST_APPS,
    MOST_TOKENS,
    PROMPTS_KEPT,
    PromptChanges,
)

Tokens = NDArray[np.int32]


def words(seed: int, n: int) -> Tokens:
    return np.random.default_rng(seed).integers(0, 30_000, n).astype(np.int32)


HEAD, RULES = words(1, 213), words(2, 1500)


def turn(stamp: int, n_stamp: int = 6, *more: Tokens) -> Tokens:
    """A prompt whose 214th token begins a time."""
    return np.concatenate([HEAD, words(1000 + stamp, n_stamp), RULES, *more])


def noted(*prompts: Tokens, app: str = "agent") -> PromptChanges:
    changes = PromptChanges()
    for prompt in prompts:
        changes.note("me", app, prompt)
    return changes


def test_the_second_request_tells_where_the_prompt_changes() -> None:
    assert noted(turn(1)).found == {}
    assert noted(turn(1), turn(2)).found == {"agent": 213}


@pytest.mark.parametrize("n_stamp", [1, 5, 7, 40])
def test_a_span_of_another_length_moves_all_that_follows_and_is_seen_through(n_stamp: int) -> None:
    assert noted(turn(1), turn(2, n_stamp)).found == {"agent": 213}


def test_a_conversation_that_also_goes_on_is_understood() -> None:
    said = words(3, 300)

    found = noted(turn(1), turn(2, 6, said), turn(3, 7, said, words(4, 200))).found

    assert found == {"agent": 213}


def test_a_change_at_the_very_first_token_is_found() -> None:
    assert noted(turn(1)[213:], turn(2)[213:]).found == {"agent": 0}


def test_a_conversation_that_only_grows_does_not_change() -> None:
    grown = np.concatenate([turn(1), words(5, 400)])

    assert noted(turn(1), grown, np.concatenate([grown, words(6, 50)])).found == {}


def test_another_conversation_with_the_same_rules_does_not_change() -> None:
    rules = np.concatenate([HEAD, RULES])

    chats = [np.concatenate([rules, words(10 + n, 2000)]) for n in range(6)]

    assert noted(*chats).found == {}


def test_requests_that_have_nothing_in_common_do_not_change() -> None:
    assert noted(*[words(n, 1000) for n in range(8)]).found == {}


def test_several_answers_to_one_prompt_say_nothing() -> None:
    assert noted(turn(1), turn(2), *[turn(2)] * 8).found == {"agent": 213}


def test_conversations_in_turns_are_told_apart() -> None:
    other = np.concatenate([words(7, 900), words(8, 900)])

    found = noted(turn(1), other, words(9, 600), turn(2)).found

    assert PROMPTS_KEPT >= 3
    assert found == {"agent": 213}


def test_an_app_that_was_mended_is_no_longer_told_of() -> None:
    changes = noted(turn(1), turn(2))

    for n in range(FORGET_AFTER):
        assert changes.found == {"agent": 213}
        changes.note("me", "agent", np.concatenate([turn(2), words(20, 100 * (n + 1))]))

    assert changes.found == {}


def test_each_app_is_looked_at_by_itself() -> None:
    changes = noted(turn(1), app="one")
    changes.note("me", "two", turn(2))
    changes.note("you", "one", turn(3))

    assert changes.found == {}


def test_memory_is_bounded_however_many_apps_and_however_long_the_prompts() -> None:
    changes = PromptChanges()
    long = words(1, 200_000)
    for n in range(3 * MOST_APPS):
        changes.note("me", f"app {n}", long)

    kept = [one.tokens.nbytes for app in changes._apps.values() for one in app.prompts]
    assert sum(kept) <= MOST_APPS * PROMPTS_KEPT * MOST_TOKENS * 4


def test_a_look_takes_a_part_of_a_step() -> None:
    """Generously bounded: it is about a quarter of a millisecond on a slow machine."""
    changes = PromptChanges()
    prompts = [np.concatenate([words(n, 5), words(0, 8000)]) for n in range(20)]
    began = time.thread_time()

    for prompt in prompts:
        changes.note("me", "agent", prompt)

    assert (time.thread_time() - began) / len(prompts) < 0.02


@given(
    head=st.integers(0, 400),
    stamps=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    # One place in eight is looked at. Of ten thousand texts one has none so soon behind the longest
    # span that it would count; none of these is.
    seed=st.integers(0, 399),
)
def test_wherever_a_short_span_changes_it_is_found_there(
    head: int, stamps: tuple[int, int], seed: int
) -> None:
    before, after = words(seed, head), words(seed + 1, 1200)
    # The first tokens of the spans differ for certain.
    spans = [
        np.concatenate([[40_000 + at], words(seed + 2 + at, n)]) for at, n in enumerate(stamps)
    ]
    prompts = [np.concatenate([before, span, after]).astype(np.int32) for span in spans]

    assert noted(*prompts).found == {"agent": head}


def test_the_scheduler_tells_of_it() -> None:
    bench = Bench()
    for rid, prompt in enumerate([turn(1), turn(2)], start=1):
        bench.arrive(rid, 0, 2, prompt=prompt.tolist(), app="agent")
        while rid not in bench.ended:
            bench.step()

    assert bench.scheduler.snapshot().prompt_changes == {"agent": 213}
