"""The benchmark of guesses: the texts it asks for, and what it makes of their times."""

import pytest

from bench.speculation import EDIT, JSON, PROSE, Pair, ratios, request_of


def test_an_edit_shows_the_file_and_begins_to_say_it_again() -> None:
    request = request_of(EDIT, lines=300, tokens=400, seed=1)

    assert request.prompt is not None
    lines = request.prompt.splitlines()
    assert len(lines) > 300
    assert lines[-10:] == lines[:10]


@pytest.mark.parametrize("kind", [EDIT, JSON, PROSE])
def test_every_seed_gives_another_text_and_one_seed_the_same(kind: str) -> None:
    first, again, other = (request_of(kind, lines=9, tokens=9, seed=seed) for seed in (1, 1, 2))

    first.check()
    assert first == again
    assert first.prompt != other.prompt


def pair(kind: str, guessed_ms: float) -> Pair:
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
    )


def test_a_kind_is_judged_by_the_median_of_its_pairs() -> None:
    pairs = [pair(kind, 5.0) for kind in (EDIT, JSON)]
    pairs += [pair(PROSE, ms) for ms in (8.0, 10.0, 20.0)]

    found = ratios(pairs)

    assert found[EDIT] == pytest.approx((2.0, 2.0, 2.0))
    assert found[PROSE] == pytest.approx((1.0, 0.5, 1.25))
