"""What the soak calls lost, and what it calls left behind."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from bench.soak import Outcome, report
from bench.soak_clients import Midway, Tally, complaint
from bench.soak_forks import Fork, Ties, ask_about, fork_of
from bench.soak_holdings import Held
from bench.umad_daemon import greedy
from tests.live import LiveDaemon, live_daemon
from umad.service import Tokens

CONTEXT = (300, 301, 302, 303)
HELD = Held(cells=0, sessions=0, descriptors=20, rss_bytes=60 * 2**20, engine_rss_bytes=100 * 2**20)


def outcome(**changed: object) -> Outcome:
    tally = Tally()
    tally.done[Midway.NOTHING] = 5
    values = {
        "tally": tally,
        "kills": 2,
        "restarts": 2,
        "before": HELD,
        "after": HELD,
        "guard": [],
        "ties": Ties(),
    }
    return Outcome(**{**values, **changed})  # type: ignore[arg-type]


def test_a_whole_answer_is_no_complaint() -> None:
    assert complaint(Midway.NOTHING, 30, 30, "length") is None


@pytest.mark.parametrize("midway", [Midway.CANCEL, Midway.DISCONNECT])
def test_a_part_of_an_answer_is_enough_for_who_went_away(midway: Midway) -> None:
    assert complaint(midway, 7, 30, None) is None


@pytest.mark.parametrize("midway", [Midway.NOTHING, Midway.FLIP])
@pytest.mark.parametrize(
    ("got", "reason"), [(29, "length"), (31, "length"), (30, "error"), (30, None)]
)
def test_who_stays_gets_every_token_and_an_end(
    midway: Midway, got: int, reason: str | None
) -> None:
    assert complaint(midway, got, 30, reason) is not None


def test_an_answer_leaves_its_reference_at_the_first_other_token() -> None:
    assert fork_of((1, 2), (3, 4, 5), (3, 9, 5)) == Fork(context=(1, 2, 3), told=9)
    assert fork_of((1, 2), (3, 4, 5), (3, 4)) is None


@pytest.fixture
def quiet(short_tmp_path: Path, nano_path: Path) -> Iterator[LiveDaemon]:
    with live_daemon(short_tmp_path, str(nano_path), "--threads", "1") as daemon:
        yield daemon


def verdict(quiet: LiveDaemon, *, rank: int) -> Ties:
    """Of an answer that went on with the token of this rank."""

    async def asked() -> Ties:
        async with quiet.client() as client:
            request = greedy(CONTEXT, 1)
            sampling = dataclasses.replace(request.sampling, logprobs=20)
            async with aclosing(
                client.generate(dataclasses.replace(request, sampling=sampling))
            ) as events:
                tokens = [event async for event in events if isinstance(event, Tokens)]
            assert tokens[0].logprobs is not None
            told = tokens[0].logprobs[0].top[rank][0]
            return await ask_about(client, Counter({Fork(context=CONTEXT, told=told): 3}))

    return asyncio.run(asked())


def test_a_token_as_likely_as_the_likeliest_is_a_near_tie(quiet: LiveDaemon) -> None:
    ties = verdict(quiet, rank=0)

    assert (ties.answers, ties.places, ties.wrong) == (3, 1, [])


def test_a_token_that_is_no_near_tie_fails_the_soak(quiet: LiveDaemon) -> None:
    ties = verdict(quiet, rank=19)

    assert "3 answers went on with a token" in ties.wrong[0]
    assert outcome(ties=ties).complaints() == ties.wrong


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
    samples = [(0.0, 0.5, 1.0), (4.0, 2.0, 3.0), (5.5, 3.0, 8.0), (7.0, 4.0, 9.0)]
    told = "\n".join(report(outcome(guard=samples)))

    assert "in 50 % of 4 samples" in told
    assert "worst 7.0 %" in told
    assert "carried nothing, median 2.5 %" in told
    assert "without a core 6 % of the time" in told
