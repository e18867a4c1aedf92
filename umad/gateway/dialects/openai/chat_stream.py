"""Streams the answer of /v1/chat/completions: one chunk for each thing that the model said."""

from collections.abc import AsyncGenerator
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
from umad.gateway.dialects.openai.logprobs import chat_logprobs
from umad.gateway.dialects.openai.usage import now_s, reason_of, usage_of
from umad.gateway.gateway_call import GatewayCall
from umad.gateway.replies import ChatReply, Said, new_call_id
from umad.request import Usage
from umad.service import Progress


class ChatChunks:
    """The chunks of one answer."""

    def __init__(self, call: GatewayCall, reply: ChatReply, *, include_usage: bool) -> None:
        self._call = call
        self._reply = reply
        self._same = {
            "id": f"chatcmpl-{call.id}",
            "object": "chat.completion.chunk",
            "created": now_s(),
            "model": reply.accepted.model,
        }
        self._usage: dict[str, Any] = {"usage": None} if include_usage else {}
        self._templates: dict[tuple[int, str], sse.Template] = {}

    def said(self, index: int, parts: tuple[AnswerPart, ...]) -> bytes:
        """The chunks of parts without log-probabilities, as most tokens come."""
        return b"".join([self._piece(index, part) for part in parts])

    def _text(self, index: int, name: str, text: str) -> bytes:
        template = self._templates.get((index, name))
        if template is None:
            template = sse.Template(self._chunk(index, {name: sse.HOLE}))
            self._templates[index, name] = template
        return template.with_text(text)

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        *,
        logprobs: list[dict[str, Any]] | None = None,
        reason: str | None = None,
    ) -> bytes:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": None if logprobs is None else {"content": logprobs, "refusal": None},
            "finish_reason": reason,
        }
        return sse.data({**self._same, "choices": [choice], **self._usage})

    async def all(self) -> AsyncGenerator[bytes, None]:
        """All of them, `[DONE]` last."""
        reply, model = self._reply, self._reply.accepted.model
        usages: list[Usage] = []
        for index in range(reply.n):
            yield self._chunk(index, {"role": "assistant", "content": ""})
        async for heard in reply:
            if isinstance(heard, Said):
                if heard.logprobs:
                    tokens = self._call.shared.token_bytes
                    listed = await chat_logprobs(tokens, model, heard.logprobs)
                    yield self._chunk(heard.index, {}, logprobs=listed)
                piece = self.said(heard.index, heard.parts)
                if piece:
                    yield piece
            elif isinstance(heard, Progress):
                yield sse.comment(f"prefill {heard.done_tokens}/{heard.total_tokens}")
            else:
                usages.append(heard.usage)
                reason = reason_of(heard.finish_reason, has_calls=reply.has_calls[heard.index])
                yield self._chunk(heard.index, {}, reason=reason)
        if self._usage:
            yield sse.data({**self._same, "choices": [], "usage": usage_of(usages)})
        yield sse.DONE

    def _piece(self, index: int, part: AnswerPart) -> bytes:
        match part:
            case Content(text):
                return self._text(index, "content", text)
            case Reasoning(text):
                return self._text(index, "reasoning_content", text)
            case CallBegan(call, name):
                function = {"name": name, "arguments": ""}
                made = {
                    "index": call,
                    "id": new_call_id(),
                    "type": "function",
                    "function": function,
                }
                return self._chunk(index, {"tool_calls": [made]})
            case CallArguments(call, text):
                more = {"index": call, "function": {"arguments": text}}
                return self._chunk(index, {"tool_calls": [more]})
            case CallEnded():
                return b""
