"""An answer's parts as Anthropic's events, in Anthropic's order."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from umad.gateway.dialects.anthropic.stream import MessageEvent, MessageStream, message_of
from umad.request import Usage

USAGE = Usage(prompt_tokens=30, cached_tokens=20, completion_tokens=5)

pieces = st.one_of(
    st.tuples(st.just("text"), st.text(max_size=4)),
    st.tuples(st.just("thinking"), st.text(max_size=4)),
    st.tuples(st.just("tool"), st.dictionaries(st.text(max_size=3), st.integers(), max_size=3)),
)


def told(parts: Sequence[tuple[str, Any]]) -> list[MessageEvent]:
    """All events of an answer made of `parts`."""
    stream = MessageStream(id_="msg_1", model="nano")
    events = stream.start()
    for at, (kind, value) in enumerate(parts):
        if kind == "text":
            events += stream.text(value)
        elif kind == "thinking":
            events += stream.thinking(value)
        else:
            events += stream.tool(id_=f"toolu_{at}", name="weather")
            for letter in json.dumps(value):
                events += stream.arguments(letter)
    return [*events, *stream.end(reason="end_turn", stop=None, usage=USAGE)]


@given(st.lists(pieces, max_size=8))
def test_every_block_is_started_filled_and_stopped_in_turn(parts: list[tuple[str, Any]]) -> None:
    events = told(parts)

    kinds = [event["type"] for event in events]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    open_index, next_index = None, 0
    for event in events[1:-2]:
        match event["type"]:
            case "content_block_start":
                assert open_index is None
                assert event["index"] == next_index
                open_index, next_index = next_index, next_index + 1
            case "content_block_stop":
                assert event["index"] == open_index
                open_index = None
            case _:
                assert event["type"] == "content_block_delta"
                assert event["index"] == open_index
    assert open_index is None


@given(st.lists(pieces, max_size=8))
def test_the_message_sent_at_once_is_what_the_stream_adds_up_to(
    parts: list[tuple[str, Any]],
) -> None:
    message = message_of(told(parts))

    def all_of(kind: str) -> str:
        return "".join(value for one, value in parts if one == kind)

    content = message["content"]
    assert "".join(b["text"] for b in content if b["type"] == "text") == all_of("text")
    assert "".join(b["thinking"] for b in content if b["type"] == "thinking") == all_of("thinking")
    assert [b["input"] for b in content if b["type"] == "tool_use"] == [
        value for kind, value in parts if kind == "tool"
    ]
    assert message["stop_reason"] == "end_turn"


def test_thinking_is_signed_before_its_block_ends() -> None:
    events = told([("thinking", "hm"), ("text", "yes")])

    deltas = [e["delta"]["type"] for e in events if e["type"] == "content_block_delta"]
    assert deltas == ["thinking_delta", "signature_delta", "text_delta"]


def test_cached_tokens_are_counted_as_read_from_the_cache() -> None:
    usage = message_of(told([]))["usage"]

    assert usage["input_tokens"] == 10
    assert usage["cache_read_input_tokens"] == 20
    assert usage["output_tokens"] == 5
