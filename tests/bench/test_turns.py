"""The benchmark of next turns, small, on a real daemon with nano; and its tables."""

import asyncio
import json
from pathlib import Path

import pytest

from bench import talks, turns
from bench.chat_servers import Messages, Turn, turn_in, umad_turn
from bench.chat_texts import ChatTexts
from bench.cold import Verdict
from bench.errors import BenchError
from tests.live import LiveDaemon, live_daemon

ANSWER_TOKENS = 16
# What a template writes around a question, and the last token of an answer, which nobody computed.
AROUND_TOKENS = 16


class LiveChats:
    """A daemon of the test. Time is its engine's own: what is not computed costs none, whoever has
    the cores."""

    name = "umad"
    method = "live"

    def __init__(self, daemon: LiveDaemon) -> None:
        self._daemon = daemon
        (self._engine,) = daemon.engines()

    def start(self) -> None:
        """It runs."""

    def turn(self, messages: Messages, *, app: str, session: str) -> Turn:
        return asyncio.run(
            umad_turn(
                self._daemon.socket,
                messages,
                app=app,
                session=session,
                answer_tokens=ANSWER_TOKENS,
                now_s=self._processor_s,
            )
        )

    def parked(self) -> int | None:
        return int(self._daemon.metrics()["parked"])

    def restart(self) -> None:
        raise AssertionError("not asked for here")

    def stop(self) -> None:
        """The test ends it."""

    def _processor_s(self) -> float:
        return sum(self._engine.cpu_times()[:2])


def test_a_turn_after_others_is_put_back_and_starts_in_a_fraction_of_the_cold_time(
    short_tmp_path: Path, nano_path: Path
) -> None:
    rows = (talks.FIRST, talks.SECOND, talks.OTHERS)
    script = talks.script(ChatTexts(seed=0), tokens=800, others=3, other_tokens=500)
    with live_daemon(short_tmp_path, str(nano_path), "--ctx-size", "1408") as daemon:
        told = talks.tell([LiveChats(daemon)], [script], rows=rows, progress=lambda _: None)

    (cold,), (after,) = told.turns[talks.FIRST]["umad"], told.turns[talks.OTHERS]["umad"]
    assert told.parked[talks.OTHERS][0] >= 1
    computed = after.n_prompt - after.n_cached
    question = 2 * talks.QUESTION_TOKENS
    assert computed <= ANSWER_TOKENS + question + AROUND_TOKENS, "the last answer and question"
    # A tenth; half where the client is so late that the engine has computed the whole answer.
    assert after.first_ms < 0.7 * cold.first_ms


def turn(first_ms: float, n_cached: int = 0) -> Turn:
    return Turn(first_ms=first_ms, text="", n_prompt=100, n_cached=n_cached)


def told(**rows: dict[str, list[Turn]]) -> talks.Told:
    named = {getattr(talks, name.upper()): columns for name, columns in rows.items()}
    return talks.Told(turns=named, parked={})


def test_shares_are_of_the_cold_turn_of_the_same_conversation_and_contender() -> None:
    both = told(
        first={"umad": [turn(100.0), turn(200.0)], "llama-server": [turn(400.0), turn(400.0)]},
        second={"umad": [turn(4.0), turn(4.0)], "llama-server": [turn(100.0), turn(40.0)]},
    )

    _, shares = turns.comparisons(both, title="toy", baseline="llama-server")

    assert shares.samples == {
        talks.SECOND: {"umad": [0.04, 0.02], "llama-server": [0.25, 0.1]},
    }


def test_a_goal_that_is_missed_is_told_with_its_figure() -> None:
    slow = told(
        first={"umad": [turn(100.0)]},
        second={"umad": [turn(6.0)]},
        edited={"umad": [turn(14.0)]},
    )
    _, shares = turns.comparisons(slow, title="toy", baseline="umad")

    assert turns.facts_of(slow, shares)[-1] == "umad misses: second turn 0.060 of 0.05"


@pytest.mark.parametrize(
    ("first", "worst", "is_told"), [(0.5, 0.0, False), (0.5, 1.5, True), (0.7, 0.0, True)]
)
def test_an_answer_that_is_not_as_good_as_cold_is_told(
    first: float, worst: float, is_told: bool
) -> None:
    verdict = Verdict(first=first, bound=0.6, worst=worst, same=15, n=16)

    line, wrong = turns.judged([talks.SECOND], [verdict])

    assert "15 of 16 tokens the same" in line
    assert bool(wrong) == is_told


def test_a_streamed_response_is_read_from_its_first_text_to_its_timings() -> None:
    events = [
        {"choices": [{"delta": {"role": "assistant", "content": None}}]},
        {"choices": [{"delta": {"content": "to"}}]},
        {"choices": [{"delta": {"content": " be"}}]},
        {"choices": [{"delta": {}}], "timings": {"cache_n": 90, "prompt_n": 10}},
    ]
    lines = [
        (number * 1_000_000, b"data: " + json.dumps(event).encode() + b"\n")
        for number, event in enumerate(events, 1)
    ]

    read = turn_in([(0, b"HTTP/1.1 200 OK\r\n"), *lines], began_ns=0)

    assert (read.first_ms, read.text, read.n_prompt, read.n_cached) == (2.0, "to be", 100, 90)


def test_a_response_without_an_answer_is_a_refusal() -> None:
    with pytest.raises(BenchError, match="exceeds the context"):
        turn_in([(1, b'{"error": "the prompt exceeds the context"}')], began_ns=0)


def test_the_cold_turn_alone_is_a_table_and_holds_no_goal() -> None:
    alone = told(first={"umad": [turn(1000.0)]})

    (times,) = turns.comparisons(alone, title="toy", baseline="umad")

    assert list(times.samples) == [talks.FIRST]
    assert not any("goal" in line for line in turns.facts_of(alone, times))
