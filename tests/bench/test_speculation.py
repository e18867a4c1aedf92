"""The benchmark of guesses: the texts it asks for, and what it makes of their times."""

import pytest

from bench.speculation import request_of, steps_of
from bench.speculation_tables import (
    AGAIN,
    EDIT,
    JSON,
    KINDS,
    PROSE,
    Pair,
    draft_table,
    ratios,
    table,
    to_bare,
    verdicts,
)


def test_an_edit_shows_the_file_and_begins_to_say_it_again() -> None:
    request = request_of(EDIT, lines=300, tokens=400, seed=1)

    assert request.prompt is not None
    lines = request.prompt.splitlines()
    assert len(lines) > 300
    shown = lines[-10:]
    assert any(lines[at : at + 10] == shown for at in range(290)), "a part of the file"


def test_edits_show_one_file_and_repeat_other_parts_of_it() -> None:
    prompts = [request_of(EDIT, lines=300, tokens=240, seed=seed).prompt or "" for seed in (1, 2)]

    first, second = (prompt.splitlines() for prompt in prompts)

    assert first[:300] == second[:300]
    assert first[-10:] != second[-10:]


@pytest.mark.parametrize("kind", KINDS)
def test_every_seed_gives_another_text_and_one_seed_the_same(kind: str) -> None:
    first, again, other = (request_of(kind, lines=99, tokens=9, seed=seed) for seed in (1, 1, 2))

    first.check()
    assert first == again
    assert first.prompt != other.prompt


def pair(kind: str, guessed_ms: float, drafted_ms: float = 0.0) -> Pair:
    """Beside a plain one of 10 ms a token, give or take noise."""
    return Pair(
        kind=kind,
        plain_ms=9.0,
        again_ms=11.0,
        guessed_ms=guessed_ms,
        bare_ms=12.0,
        n_tokens=300,
        n_steps=100,
        is_same=True,
        is_steady=True,
        drafted_ms=drafted_ms,
        n_drafted_steps=50 if drafted_ms else 0,
    )


def test_a_kind_is_judged_by_the_median_of_its_pairs() -> None:
    pairs = [pair(kind, 5.0) for kind in (EDIT, JSON)]
    pairs += [pair(PROSE, ms) for ms in (8.0, 10.0, 20.0)]

    found = ratios(pairs)

    assert found[EDIT] == pytest.approx((2.0, 2.0, 2.0))
    assert found[PROSE] == pytest.approx((1.0, 0.5, 1.25))


def test_prose_that_was_said_before_is_another_prose() -> None:
    prose, again = (request_of(kind, lines=9, tokens=9, seed=1) for kind in (PROSE, AGAIN))

    assert prose.prompt != again.prompt


def test_what_is_asked_for_is_held_against_the_bare_library() -> None:
    # Bare takes 12 ms a token.
    pairs = [pair(EDIT, 5.0), pair(JSON, 10.0), pair(PROSE, 12.0), pair(AGAIN, 4.0)]

    edit, json, prose = verdicts(pairs)

    assert edit == "edit: 2.40 times as fast as bare, 2.0 asked for"
    assert json.endswith("1.3 asked for: missed")
    assert "missed" not in prose


def test_with_a_draft_its_own_pace_is_held_against_the_bare_library() -> None:
    pairs = [pair(EDIT, 12.0, drafted_ms=4.0)]

    assert ratios(pairs, to_bare)[EDIT] == pytest.approx((3.0, 3.0, 3.0))
    assert draft_table(pairs).row_count == table(pairs).row_count == 1


def test_tokens_that_come_together_are_those_of_one_step() -> None:
    # Three steps of 20, 20 and 60 ms bring 1, 4 and 3 tokens.
    came_s = [0.0, 0.02, 0.0201, 0.0202, 0.0203, 0.08, 0.0801, 0.0802]

    assert steps_of(came_s) == 3
    assert steps_of([0.02 * at for at in range(9)]) == 9
    assert steps_of([1.0]) == 1
    assert steps_of([]) == 0
