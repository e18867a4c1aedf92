"""The daemon's end of an engine's link: what it hears, and when it says that it heard it."""

import asyncio
import itertools

from umad.daemon.engine_link import EngineLink
from umad.metrics import Scorecard
from umad.protocol.events import tokens_tail
from umad.protocol.frames import encode_frame
from umad.protocol.link import StepReport, encode, encode_step_tokens

MS = 1_000_000


def step(rid: int, token: int) -> bytes:
    row: list[int | bytes] = [rid, token, tokens_tail("x", token)]
    return encode_frame(encode_step_tokens(1.0, row, carried=False))


def test_tokens_a_late_daemon_reads_at_once_are_one_wait_for_whoever_reads_them() -> None:
    async def test() -> None:
        ticks = itertools.count(MS, MS)  # a crowded machine: a millisecond between any two looks
        card = Scorecard(latency_cap=1.2, budget_gbps=None)
        card.accepted(1, "m", "interactive", "app", 0)
        link = EngineLink(
            lambda message, now_ns: None,
            lambda unpacked, now_ns: card.tokens(unpacked[3], 1, now_ns),
            lambda: next(ticks),
        )

        link.data_received(step(1, 5))
        link.data_received(step(1, 6) + step(1, 7) + step(1, 8))

        snapshot = card.snapshot(10 * MS, {})
        assert snapshot["lanes"]["interactive"]["tokens"] == 4
        assert (snapshot["p50_ms"], snapshot["max_ms"]) == (1.0, 1.0)

    asyncio.run(test())


def test_news_of_every_kind_is_dated_when_it_was_read() -> None:
    async def test() -> None:
        heard: list[tuple[str, int]] = []
        ticks = itertools.count(7)
        link = EngineLink(
            lambda message, now_ns: heard.append((type(message).__name__, now_ns)),
            lambda unpacked, now_ns: heard.append(("tokens", now_ns)),
            lambda: next(ticks),
        )

        link.data_received(step(1, 5) + encode_frame(encode(StepReport())))
        link.data_received(step(1, 6))

        assert heard == [("tokens", 7), ("StepReport", 7), ("tokens", 8)]

    asyncio.run(test())
