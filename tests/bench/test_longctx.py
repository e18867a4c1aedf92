"""Order of turns, tables and bytes of the long-context benchmark."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

import pytest
from typing_extensions import override

from bench import longctx
from bench.arrivals import Arrival
from bench.errors import BenchError
from bench.exchange import Exchange
from bench.latency import Trace
from bench.load import Target
from bench.longctx import Traffic
from bench.prompts import Prompts

TRAFFIC = Traffic(
    weight_bytes=50_000_000, kv_cell_bytes=2048, vocabulary_tokens=1000, kv_type="F16"
)


class Scripted(Target):
    """Answers every request at once, and remembers the prompts in one list for all."""

    method = "scripted"
    pids = ()

    def __init__(self, name: str, seen: list[tuple[str, tuple[int, ...]]], *, hangs: bool) -> None:
        self.name, self._seen, self._hangs = name, seen, hangs

    @override
    def start(self) -> None:
        """Nothing."""

    @override
    def stop(self) -> None:
        """Nothing."""

    @override
    async def connect(self, client: int) -> "Scripted":
        return self

    async def send(self, prompt: Sequence[int], *, tokens: int, lane: str) -> Exchange:
        self._seen.append((self.name, tuple(prompt)))
        ended = asyncio.get_running_loop().create_future()
        if not self._hangs:
            ended.set_result(None)
        return Exchange(prompt_tokens=len(prompt), asked_tokens=tokens, sent_ns=0, ended=ended)

    def trace(self, exchange: Exchange) -> Trace:
        # A token a millisecond after a first one that took a second.
        arrivals = tuple(Arrival(at_ns=10**9 + i * 10**6, tokens=i + 1) for i in range(4))
        return Trace(sent_ns=0, arrivals=arrivals)

    def decode(self, exchange: Exchange) -> int:
        return 0

    def close(self) -> None:
        """Nothing."""


def measured(*, hangs: bool = False) -> tuple[longctx.Measured, list[tuple[str, tuple[int, ...]]]]:
    seen: list[tuple[str, tuple[int, ...]]] = []

    @contextlib.contextmanager
    def start(kv_type: str) -> Iterator[Sequence[Target]]:
        yield [Scripted(name, seen, hangs=hangs) for name in ("umad", "peer")]

    found = longctx.measure(
        start,
        traffic=lambda _: TRAFFIC,
        kv_types=["f16", "q8"],
        depths=[100, 200],
        prompts=Prompts(1000, seed=0),
        tokens=4,
        repetitions=2,
        timeout_s=0.2 if hangs else 60.0,
        progress=lambda _: None,
    )
    return found, seen


def test_repetitions_ask_for_the_same_prompt_again_and_take_turns() -> None:
    _, seen = measured()

    first = seen[:6]  # of one type and depth
    assert [name for name, _ in first] == ["umad", "peer", "umad", "peer", "peer", "umad"]
    assert {len(prompt) for _, prompt in first} == {96}
    assert len({prompt for _, prompt in seen}) == 4  # one for each type and depth


def test_tables_hold_speed_gain_bytes_and_the_prompt() -> None:
    found, _ = measured()

    speed, gain, moved, prefill = longctx.comparisons(found, title="tiny", names=["umad", "peer"])

    assert speed.samples["f16 at 100"] == {"umad": [1000.0] * 2, "peer": [1000.0] * 2}
    assert set(gain.samples["peer at 200"]) == {"f16", "q8"}
    # 50 MB of weights, 101 cells of 2 KiB, 1,000 logits of 4 bytes.
    assert moved.samples["100"]["f16"][0] == pytest.approx(50.0 + 0.206848 + 0.004)
    assert prefill.samples["q8 at 200"] == {"umad": [1.0], "peer": [1.0]}


def test_a_prompt_that_takes_too_long_is_an_error_that_says_what_to_change() -> None:
    with pytest.raises(BenchError, match="--depths"):
        measured(hangs=True)
