"""Shapes an answer for Anthropic: the events of a stream in their fixed order, or one message.

    message_start, (content_block_start, content_block_delta*, content_block_stop)*,
    message_delta, message_stop; ping anywhere between; error in place of the rest.

`MessageStream` takes the parts of an answer as they come and returns the events to send. One whole
message is made from the same events. A stream begins before its prompt's tokens are counted,
because its client is to see headers while the prompt is still read. So `message_start` says 0
tokens and `message_delta` has the true counts, which clients keep. Pure. Owner: the task of one
request.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pydantic_core

from umad.request import Usage

MessageEvent = Mapping[str, Any]
StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"]

# A real signature lets Anthropic recognise its own thinking; a local model accepts any text.
SIGNATURE = "umad"

_LAST_NUMBER = re.compile(r"-?[0-9][0-9.eE+-]*$")
_EMPTY_BLOCKS: Mapping[str, Mapping[str, Any]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


def usage_fields(usage: Usage) -> dict[str, int]:
    """Anthropic counts a cached token as read from the cache, not as input."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }


def _message(
    *,
    id_: str,
    model: str,
    content: Sequence[Mapping[str, Any]],
    usage: Usage,
    reason: StopReason | None,
    stop: str | None,
) -> dict[str, Any]:
    return {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": list(content),
        "stop_reason": reason,
        "stop_sequence": stop,
        "usage": usage_fields(usage),
    }


@dataclass(slots=True, kw_only=True)
class MessageStream:
    """One answer as events. Call `start` first and `end` or `error` last; each returns the events
    to send, in order. Parts may come in pieces of any size; a part of another kind ends the block.
    """

    # Of the message.
    id_: str
    # The name the client asked for; the client expects to see it again.
    model: str
    _index: int = field(default=-1, init=False)
    _open: str | None = field(default=None, init=False)

    def start(self) -> list[MessageEvent]:
        """The stream begins."""
        nothing = Usage(prompt_tokens=0, cached_tokens=0, completion_tokens=0)
        message = _message(
            id_=self.id_, model=self.model, content=(), usage=nothing, reason=None, stop=None
        )
        return [{"type": "message_start", "message": message}]

    def text(self, text: str) -> list[MessageEvent]:
        """A piece of the answer's text."""
        if not text:
            return []
        return [*self._enter("text"), self._delta({"type": "text_delta", "text": text})]

    def thinking(self, text: str) -> list[MessageEvent]:
        """A piece of what the model thinks before it answers."""
        if not text:
            return []
        return [
            *self._enter("thinking"),
            self._delta({"type": "thinking_delta", "thinking": text}),
        ]

    def tool(self, *, id_: str, name: str) -> list[MessageEvent]:
        """A call of tool `name` begins; its arguments follow as JSON text in pieces."""
        block = {"type": "tool_use", "id": id_, "name": name, "input": {}}
        return [*self._leave(), self._begin("tool_use", block)]

    def arguments(self, partial_json: str) -> list[MessageEvent]:
        """A piece of the open call's arguments."""
        if not partial_json:
            return []
        return [self._delta({"type": "input_json_delta", "partial_json": partial_json})]

    def end(self, *, reason: StopReason, stop: str | None, usage: Usage) -> list[MessageEvent]:
        """The answer is complete."""
        return [
            *self._leave(),
            {
                "type": "message_delta",
                "delta": {"stop_reason": reason, "stop_sequence": stop},
                "usage": usage_fields(usage),
            },
            {"type": "message_stop"},
        ]

    def _enter(self, kind: str) -> list[MessageEvent]:
        if self._open == kind:
            return []
        return [*self._leave(), self._begin(kind, _EMPTY_BLOCKS[kind])]

    def _begin(self, kind: str, block: Mapping[str, Any]) -> MessageEvent:
        self._index += 1
        self._open = kind
        return {"type": "content_block_start", "index": self._index, "content_block": block}

    def _leave(self) -> list[MessageEvent]:
        if self._open is None:
            return []
        events: list[MessageEvent] = []
        if self._open == "thinking":
            events.append(self._delta({"type": "signature_delta", "signature": SIGNATURE}))
        events.append({"type": "content_block_stop", "index": self._index})
        self._open = None
        return events

    def _delta(self, delta: Mapping[str, Any]) -> MessageEvent:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}


def message_of(events: Sequence[MessageEvent]) -> Mapping[str, Any]:
    """The message that a whole stream of `events` adds up to, as Anthropic's own clients would add
    it up.

    So an answer that is sent whole cannot differ from one that is streamed.
    """
    message: dict[str, Any] = {}
    partial: dict[int, list[str]] = {}
    for event in events:
        match event["type"]:
            case "message_start":
                message = {**event["message"], "content": []}
            case "content_block_start":
                message["content"].append(dict(event["content_block"]))
                partial[event["index"]] = []
            case "content_block_delta":
                delta, block = event["delta"], message["content"][event["index"]]
                if delta["type"] == "signature_delta":
                    block["signature"] = delta["signature"]
                else:
                    key = delta["type"].removesuffix("_delta").replace("input_json", "partial_json")
                    partial[event["index"]].append(delta[key])
            case "content_block_stop":
                _close(message["content"][event["index"]], "".join(partial[event["index"]]))
            case "message_delta":
                message |= event["delta"]
                message["usage"] = event["usage"]
            case _:
                pass
    return message


def _close(block: dict[str, Any], said: str) -> None:
    if block["type"] == "tool_use":
        block["input"] = input_of(said)
    else:
        block[block["type"]] = said


def input_of(arguments: str) -> dict[str, Any]:
    """A call's arguments as an object. Of an answer that was cut off, it has what was whole by
    then; it is empty if the model did not write an object.
    """
    try:
        # A number at the end of a text that was cut off may be the beginning of another.
        whole = _LAST_NUMBER.sub("", arguments)
        value = pydantic_core.from_json(whole or "{}", allow_partial=True)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def call_id() -> str:
    """A new id of a call, in the form of Anthropic's."""
    return f"toolu_{secrets.token_hex(12)}"
