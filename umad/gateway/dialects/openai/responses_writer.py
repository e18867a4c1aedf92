"""Writes a response while it runs: its items, and the event of every change, in OpenAI's order.

    created, in_progress
    per item   output_item.added, [content_part.added,] delta*, done, [content_part.done,]
               output_item.done
    completed | incomplete

One writer serves both kinds of answer: an answer that is not streamed drops the events. Pure.
Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Iterator, Sequence
from typing import Any

from umad.gateway import sse
from umad.gateway.answer_parts import (
    AnswerPart,
    CallArguments,
    CallBegan,
    CallEnded,
    Content,
    Reasoning,
)
from umad.gateway.dialects.openai.responses_items import item_id
from umad.gateway.replies import new_call_id
from umad.request import FinishReason, Usage


class ResponseWriter:
    """Writes one response and its events.

    `response` is the response without output, as it will be sent; it is written into.
    """

    def __init__(self, response: dict[str, Any]) -> None:
        self.response = response
        self.output: list[dict[str, Any]] = response["output"]
        self._open: dict[str, Any] | None = None
        # Pieces of the open item's text: joined once.
        self._pieces: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self._sequence = 0

    def begin(self) -> Iterator[bytes]:
        """The events before the first part."""
        yield self._event("response.created", response=self.response)
        yield self._event("response.in_progress", response=self.response)

    def say(self, part: AnswerPart, logprobs: Sequence[dict[str, Any]] = ()) -> Iterator[bytes]:
        """One more part of the answer. logprobs: of a text's tokens, where they were asked for."""
        match part:
            case Content(text):
                if self._open is None or self._open["type"] != "message":
                    yield from self._begin_message()
                self._logprobs += logprobs
                yield self._delta(
                    "response.output_text.delta", text, content_index=0, logprobs=[*logprobs]
                )
            case Reasoning(text):
                if self._open is None or self._open["type"] != "reasoning":
                    yield from self._begin_reasoning()
                yield self._delta("response.reasoning_text.delta", text, content_index=0)
            case CallBegan(_, name):
                yield from self._begin_call(name)
            case CallArguments(_, text):
                if self._open is not None:
                    yield self._delta("response.function_call_arguments.delta", text)
            case CallEnded(_, is_whole):
                yield from self._close("completed" if is_whole else "incomplete")

    def finish(
        self, reason: FinishReason, usage: Usage, *, reasoning_tokens: int
    ) -> Iterator[bytes]:
        """After the last part: the whole response."""
        is_cut = reason == "length"
        yield from self._close("incomplete" if is_cut else "completed")
        response = self.response
        response["status"] = "incomplete" if is_cut else "completed"
        if is_cut:
            response["incomplete_details"] = {"reason": "max_output_tokens"}
        response["usage"] = {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {
                "cached_tokens": usage.cached_tokens,
                "cache_write_tokens": 0,
            },
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": reasoning_tokens},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        }
        yield self._event(f"response.{response['status']}", response=response)

    # -- items ------------------------------------------------------------------------------------

    def _begin_message(self) -> Iterator[bytes]:
        item = {"type": "message", "id": self._next_id("msg"), "role": "assistant", "content": []}
        yield from self._begin_item(item)
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield self._about("response.content_part.added", content_index=0, part=part)

    def _begin_reasoning(self) -> Iterator[bytes]:
        item = {"type": "reasoning", "id": self._next_id("rs"), "summary": [], "content": []}
        yield from self._begin_item(item)
        part = {"type": "reasoning_text", "text": ""}
        yield self._about("response.content_part.added", content_index=0, part=part)

    def _begin_call(self, name: str) -> Iterator[bytes]:
        yield from self._begin_item(
            {
                "type": "function_call",
                "id": self._next_id("fc"),
                "call_id": new_call_id(),
                "name": name,
                "arguments": "",
            }
        )

    def _next_id(self, kind: str) -> str:
        return item_id(kind, self.response["id"], len(self.output))

    def _begin_item(self, item: dict[str, Any]) -> Iterator[bytes]:
        yield from self._close()
        self._open = {**item, "status": "in_progress"}
        self.output.append(self._open)
        yield self._event(
            "response.output_item.added", output_index=len(self.output) - 1, item=self._open
        )

    def _close(self, status: str = "completed") -> Iterator[bytes]:
        item = self._open
        if item is None:
            return
        text = "".join(self._pieces)
        self._pieces.clear()
        item["status"] = status
        if item["type"] == "function_call":
            # The beginning of arguments is no JSON, and stays what it is.
            item["arguments"] = text or ("{}" if status == "completed" else "")
            yield self._about(
                "response.function_call_arguments.done",
                arguments=item["arguments"],
                name=item["name"],
            )
        else:
            is_text = item["type"] == "message"
            part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
            part["logprobs"], self._logprobs = self._logprobs, []
            more: dict[str, Any] = {"logprobs": part["logprobs"]}
            if not is_text:
                part, more = {"type": "reasoning_text", "text": text}, {}
            item["content"] = [part]
            name = "output_text" if is_text else "reasoning_text"
            yield self._about(f"response.{name}.done", content_index=0, text=text, **more)
            yield self._about("response.content_part.done", content_index=0, part=part)
        yield self._event("response.output_item.done", output_index=len(self.output) - 1, item=item)
        self._open = None

    # -- events -----------------------------------------------------------------------------------

    def _delta(self, kind: str, text: str, **more: Any) -> bytes:
        self._pieces.append(text)
        return self._about(kind, delta=text, **more)

    def _about(self, kind: str, **fields: Any) -> bytes:
        """An event about the open item."""
        item = self._open or {}
        return self._event(
            kind, item_id=item.get("id"), output_index=len(self.output) - 1, **fields
        )

    def _event(self, kind: str, **fields: Any) -> bytes:
        said = sse.event(kind, {"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        return said
