"""A library of texts in parts: its answer is that of the whole, and no part is asked twice."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.daemon.house import PATIENCE_S, run
from umad.daemon import embed_parts
from umad.daemon.embed_parts import MOST_CHARS, MOST_TEXTS, Parts
from umad.daemon.embeddings import _worked
from umad.daemon.engine import Engine
from umad.daemon.engine_state import EngineState
from umad.errors import BadRequest, EngineFailed
from umad.protocol.link import Drop, EngineCall, EngineReply, ToEngine


def computed(op: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """What an engine would answer: each text's vector is its length, its score a number in it."""
    texts: Sequence[Any] = args["inputs" if op == "embed" else "documents"]
    counts = {"prompt_tokens": len(texts), "cached_tokens": 0, "cached_inputs": 0}
    if op == "embed":
        raw = b"".join([len(one).to_bytes(4, "little") for one in texts])
        return {"dimensions": 1, "vectors": raw, **counts}
    scores = [(at, float(len(one) % 7)) for at, one in enumerate(texts)]
    scores.sort(key=lambda one: -one[1])
    return {"ranked": scores[: args["top_n"]], **counts}


def test_what_is_not_long_is_one_call_as_it_is() -> None:
    args = {"inputs": ("a", "b" * MOST_CHARS * 2), "lane": "interactive"}
    short = {"inputs": ("a",) * MOST_TEXTS}

    assert Parts.of("embed", short).calls == (short,)
    assert [len(one["inputs"]) for one in Parts.of("embed", args).calls] == [1, 1]


@given(
    texts=st.lists(
        st.one_of(st.text(max_size=40), st.tuples(st.integers(0, 9), st.integers(0, 9))),
        min_size=1,
        max_size=40,
    ),
    op=st.sampled_from(["embed", "rerank"]),
    top_n=st.none() | st.integers(1, 50),
)
def test_an_answer_in_parts_is_that_of_the_whole(
    texts: list[Any], op: str, top_n: int | None
) -> None:
    args = {"inputs": tuple(texts), "documents": tuple(texts), "top_n": top_n, "app": "x"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed_parts, "MOST_TEXTS", 5)
        patch.setattr(embed_parts, "MOST_CHARS", 60)
        parts = Parts.of(op, args)

    if len(parts.calls) > 1:
        name = "inputs" if op == "embed" else "documents"
        assert tuple(text for one in parts.calls for text in one[name]) == tuple(texts)
        assert [one["first"] for one in parts.calls] == [
            sum(len(other[name]) for other in parts.calls[:at]) for at in range(len(parts.calls))
        ]
        assert {one["total"] for one in parts.calls} == {len(texts)}
        assert all(0 < len(one[name]) <= 5 for one in parts.calls)
    assert parts.joined([computed(op, one) for one in parts.calls]) == computed(op, args)


def test_answers_that_do_not_fit_together_are_the_engines_fault() -> None:
    args = {"inputs": ("a",) * (MOST_TEXTS + 1)}
    answers = [{"dimensions": 1, "vectors": b"0123"}, {"dimensions": 2, "vectors": b"01234567"}]

    with pytest.raises(EngineFailed, match="do not fit together"):
        Parts.of("embed", args).joined(answers)


class Process:
    """An engine's process: what it was sent."""

    def __init__(self) -> None:
        self.calls: dict[int, EngineCall] = {}
        self.dropped: list[int] = []

    def send(self, *messages: ToEngine) -> None:
        for one in messages:
            if isinstance(one, EngineCall):
                self.calls[one.call] = one
            elif isinstance(one, Drop):
                self.dropped.append(one.call)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_library_of_a_model_that_leaves_goes_on_where_it_was() -> None:
    """However often its model has to leave, a part that is answered is not asked for again."""

    async def test() -> None:
        parts = Parts.of("embed", {"inputs": tuple("x" * (at + 1) for at in range(700))})
        assert len(parts.calls) > 4
        engine = Engine("a", Path("a.gguf"), state=EngineState.READY)
        working = asyncio.create_task(_worked(engine, parts))
        asked: list[int] = []
        # Each process answers one part, and leaves.
        for _ in parts.calls:
            process = Process()
            await settled()
            engine.connect(process)
            assert 0 < len(process.calls) <= 2
            number, call = min(process.calls.items())
            asked.append(call.args["first"])
            engine.disconnect()
            engine.replied(EngineReply(call=number, value=computed("embed", call.args)))

        value = await asyncio.wait_for(working, PATIENCE_S)

        assert asked == [one["first"] for one in parts.calls]
        assert value["vectors"] == b"".join([(at + 1).to_bytes(4, "little") for at in range(700)])

    run(test())


def test_an_error_of_one_part_is_that_of_the_request_and_the_other_is_dropped() -> None:
    async def test() -> None:
        parts = Parts.of("embed", {"inputs": ("x" * 1_000,) * 200})
        engine, process = Engine("a", Path("a.gguf"), state=EngineState.READY), Process()
        engine.connect(process)
        working = asyncio.create_task(_worked(engine, parts))
        await settled()
        first, second = process.calls

        error = ("bad_request", "input 3 has no tokens", "input")
        engine.replied(EngineReply(call=first, error=error))

        with pytest.raises(BadRequest, match="input 3 has no tokens"):
            await asyncio.wait_for(working, PATIENCE_S)
        await settled()
        assert process.dropped == [second]
        assert engine.is_idle

    run(test())
