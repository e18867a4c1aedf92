"""What the benchmark of several models calls lost, left and felt."""

import dataclasses

import pytest

from bench.several import MAX_MODELS, Held, Outcome, Seen, report

HELD = Held(processes=4, descriptors=30, rss_bytes=60 * 2**20)


def seen(gap_ms: float = 10.0) -> Seen:
    return Seen(requests=5, tokens=100, gaps_s=[gap_ms / 1e3] * 100, first_s=[0.1] * 5, loads=2)


def outcome(**changed: object) -> Outcome:
    values = {
        "alone": seen(),
        "chat": seen(),
        "others": seen(50.0),
        "before": HELD,
        "after": HELD,
        "most_engines": MAX_MODELS,
    }
    return Outcome(**{**values, **changed})  # type: ignore[arg-type]


def test_all_that_is_as_it_should_be_is_no_complaint() -> None:
    assert outcome().complaints() == []
    assert "chat: 5 requests, 100 tokens, 0 lost, 2 waited for a load" in "\n".join(
        report(outcome())
    )


@pytest.mark.parametrize(
    ("name", "value"), [("processes", 5), ("descriptors", 31), ("rss_bytes", 90 * 2**20)]
)
def test_whatever_stays_behind_is_named(name: str, value: int) -> None:
    (told,) = outcome(after=dataclasses.replace(HELD, **{name: value})).complaints()

    assert told.startswith(f"{name}: {value} at the end")


def test_a_lost_request_is_a_complaint_of_its_own() -> None:
    lost = dataclasses.replace(seen(), lost=["b: 7 of 20 tokens"])

    assert outcome(others=lost).complaints() == ["b: 7 of 20 tokens"]


def test_pauses_beyond_the_cap_are_a_complaint() -> None:
    (told,) = outcome(chat=seen(12.5)).complaints()

    assert "12.5 ms beside the others, 10.0 ms alone" in told


def test_more_engines_than_may_be_are_a_complaint() -> None:
    assert outcome(most_engines=3).complaints() == ["3 engines at once, at most 2 may be"]


def test_models_that_did_not_take_turns_prove_nothing() -> None:
    idle = dataclasses.replace(seen(), loads=0)

    assert "did not take turns" in outcome(chat=idle).complaints()[0]
