"""Shapes an answer as Ollama does: the lines of a stream, or one object. Pure.

Every line has the model and the time. The last line also has counts and the reason why the answer
ended. A tool call is sent whole, with its arguments as an object, as Ollama's clients expect.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pydantic_core

from umad.request import Timings, Usage

Line = Mapping[str, Any]
DoneReason = Literal["stop", "length", "load", "unload"]


def _ns(ms: float) -> int:
    return max(0, round(ms * 1e6))


def final_fields(
    reason: DoneReason, usage: Usage | None = None, timings: Timings | None = None
) -> dict[str, Any]:
    """The fields that only a last line has. Reading the prompt ends with the first token."""
    fields: dict[str, Any] = {"done": True, "done_reason": reason}
    if usage is None or timings is None:
        return fields
    queued, first, total = timings.queued_ms, timings.first_token_ms, timings.total_ms
    return fields | {
        "total_duration": _ns(total),
        "load_duration": _ns(queued),
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": _ns(first - queued),
        "eval_count": usage.completion_tokens,
        "eval_duration": _ns(total - first),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatLines:
    """The lines of `/api/chat`."""

    # As the client named it.
    model: str
    # RFC 3339, of the request.
    created_at: str

    def text(self, text: str) -> Line:
        """A piece of the answer."""
        return self._line({"role": "assistant", "content": text})

    def thinking(self, text: str) -> Line:
        """A piece of the thinking before it."""
        return self._line({"role": "assistant", "content": "", "thinking": text})

    def call(self, *, id_: str, name: str, arguments: str) -> Line:
        """A whole call of a tool. arguments: JSON text."""
        function = {"name": name, "arguments": arguments_of(arguments)}
        calls = [{"id": id_, "function": function}]
        return self._line({"role": "assistant", "content": "", "tool_calls": calls})

    def end(
        self, reason: DoneReason, usage: Usage | None = None, timings: Timings | None = None
    ) -> Line:
        """The last line."""
        last = self._line({"role": "assistant", "content": ""})
        return {**last, **final_fields(reason, usage, timings)}

    def _line(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "model": self.model,
            "created_at": self.created_at,
            "message": message,
            "done": False,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateLines:
    """Lines of `/api/generate`."""

    model: str
    created_at: str

    def text(self, text: str) -> Line:
        """A piece of the answer."""
        return self._line({"response": text})

    def thinking(self, text: str) -> Line:
        """A piece of the thinking before it."""
        return self._line({"response": "", "thinking": text})

    def call(self, *, id_: str, name: str, arguments: str) -> Line:
        """A call as text: no tools were offered here, so the model meant it as text."""
        return self.text(json.dumps({"name": name, "arguments": arguments_of(arguments)}))

    def end(
        self, reason: DoneReason, usage: Usage | None = None, timings: Timings | None = None
    ) -> Line:
        """The last line."""
        return {**self._line({"response": ""}), **final_fields(reason, usage, timings)}

    def _line(self, said: Mapping[str, Any]) -> dict[str, Any]:
        return {"model": self.model, "created_at": self.created_at, **said, "done": False}


def arguments_of(text: str) -> dict[str, Any]:
    """A call's arguments as an object: the complete part of them if the answer was cut off, and
    empty if the model did not write an object.
    """
    try:
        value = pydantic_core.from_json(text or "{}", allow_partial="trailing-strings")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def whole_of(lines: Sequence[Line]) -> Line:
    """The one object that all `lines` of an answer add up to, as `stream: false` sends it."""
    whole = dict(lines[-1])
    if logprobs := [one for line in lines for one in line.get("logprobs", ())]:
        whole["logprobs"] = logprobs
    if "message" not in whole:
        whole["response"] = "".join(line["response"] for line in lines)
        if thinking := "".join(line.get("thinking", "") for line in lines):
            whole["thinking"] = thinking
        return whole
    messages = [line["message"] for line in lines]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(one["content"] for one in messages),
    }
    if thinking := "".join(one.get("thinking", "") for one in messages):
        message["thinking"] = thinking
    if calls := [call for one in messages for call in one.get("tool_calls", ())]:
        message["tool_calls"] = calls
    return {**whole, "message": message}
