"""What the soak calls lost, and what it calls left behind."""

import dataclasses

import pytest

from bench.soak import Outcome, report
from bench.soak_clients import Midway, Tally, complaint
from bench.soak_holdings import Held

ANSWER = tuple(range(100, 130))
HELD = Held(cells=0, sessions=0, descriptors=20, rss_bytes=60 * 2**20, engine_rss_bytes=100 * 2**20)


def outcome(**changed: object) -> Outcome:
    tally = Tally()
    tally.done[Midway.NOTHING] = 5
    values = {"tally": tally, "kills": 2, "restarts": 2, "before": HELD, "after": HELD, "guard": []}
    return Outcome(**{**values, **changed})  # type: ignore[arg-type]


def test_a_whole_answer_is_no_complaint() -> None:
    assert complaint(Midway.NOTHING, ANSWER, ANSWER, "length") is None


@pytest.mark.parametrize("midway", [Midway.CANCEL, Midway.DISCONNECT])
def test_a_part_of_an_answer_is_enough_for_who_went_away(midway: Midway) -> None:
    assert complaint(midway, ANSWER[:7], ANSWER, None) is None


@pytest.mark.parametrize("midway", [Midway.NOTHING, Midway.FLIP])
@pytest.mark.parametrize(("got", "reason"), [(29, "length"), (30, "error"), (30, None)])
def test_who_stays_gets_every_token_and_an_end(
    midway: Midway, got: int, reason: str | None
) -> None:
    assert complaint(midway, ANSWER[:got], ANSWER, reason) is not None


def test_a_lost_token_shows_as_a_shift() -> None:
    ids = (*ANSWER[:10], *ANSWER[11:], 7)

    assert complaint(Midway.NOTHING, ids, ANSWER, "length") == "1 tokens lost at token 10"


def test_repeated_tokens_show_as_a_shift() -> None:
    ids = (*ANSWER[:10], *ANSWER[7:27])

    assert complaint(Midway.NOTHING, ids, ANSWER, "length") == "3 tokens repeated at token 10"


def test_a_near_tie_that_went_the_other_way_is_no_loss() -> None:
    ids = (*ANSWER[:10], *range(500, 520))

    assert complaint(Midway.NOTHING, ids, ANSWER, "length") is None


def test_a_text_that_runs_in_a_circle_is_no_evidence_of_a_shift() -> None:
    answer = (*range(100, 110), 5, 6, *([1, 2] * 9))
    ids = (*range(100, 110), *([1, 2] * 10))

    assert complaint(Midway.NOTHING, ids, answer, "length") is None


def test_a_quiet_daemon_as_it_was_is_no_complaint() -> None:
    assert outcome().complaints() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cells", 1),
        ("sessions", 1),
        ("descriptors", 21),
        ("rss_bytes", 80 * 2**20),
        ("engine_rss_bytes", 130 * 2**20),
    ],
)
def test_whatever_stays_behind_is_named(name: str, value: int) -> None:
    after = dataclasses.replace(HELD, **{name: value})

    (told,) = outcome(after=after).complaints()

    assert told.startswith(f"{name}: {value} at the end")


def test_a_restart_too_many_or_a_soak_in_which_nothing_ended_fails() -> None:
    assert len(outcome(restarts=3).complaints()) == 1
    assert len(outcome(tally=Tally()).complaints()) == 1


def test_the_guard_is_told_as_the_gaps_beyond_its_cap() -> None:
    told = "\n".join(report(outcome(guard=[0.0, 4.0, 5.5, 7.0])))

    assert "in 50 % of 4 samples" in told
    assert "worst 7.0 %" in told
