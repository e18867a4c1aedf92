"""The streamed answer of /v1/chat/completions: a chunk for everything that was said."""

from collections.abc import AsyncGenerator
from typing import Any

from umad.gateway import sse
from umad.gateway.call import Call
from umad.gateway.dialects.openai_logprobs import chat_logprobs
from umad.gateway.dialects.openai_usage import now_s, reason_of, usage_of
from umad.gateway.reading import CallArguments, CallBegan, CallEnded, Content, Part, Reasoning
from umad.gateway.replies import ChatReply, Said, new_call_id
from umad.request import Usage
from umad.service import Progress


class _Envelope:
    """What every chunk of one answer says alike, encoded once."""

    def __init__(self, call: Call, model: str, *, has_usage: bool) -> None:
        self._same = {
            "id": f"chatcmpl-{call.id}",
            "object": "chat.completion.chunk",
            "created": now_s(),
            "model": model,
        }
        self._usage: dict[str, Any] = {"usage": None} if has_usage else {}
        self._heads: dict[int, str] = {}
        # A chunk is this, the text as JSON, and a tail: one encoded string a token.
        self._tail = '},"logprobs":null,"finish_reason":null}]'
        self._tail += ',"usage":null}\n\n' if has_usage else "}\n\n"

    def content(self, index: int, name: str, text: str) -> bytes:
        """The chunk of most tokens: text and nothing else."""
        head = self._heads.get(index)
        if head is None:
            whole = sse.encode_json({**self._same, "choices": []})
            head = f'data: {whole[:-2]}{{"index":{index},"delta":{{'
            self._heads[index] = head
        return f'{head}"{name}":{sse.encode_json(text)}{self._tail}'.encode()

    def chunk(
        self,
        index: int,
        delta: dict[str, Any],
        *,
        logprobs: list[dict[str, Any]] | None = None,
        reason: str | None = None,
    ) -> bytes:
        """Any other chunk."""
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": None if logprobs is None else {"content": logprobs, "refusal": None},
            "finish_reason": reason,
        }
        return sse.data({**self._same, "choices": [choice], **self._usage})

    def usage(self, usage: dict[str, Any]) -> bytes:
        """The last chunk, where it was asked for."""
        return sse.data({**self._same, "choices": [], "usage": usage})


async def chunks(call: Call, reply: ChatReply, include_usage: bool) -> AsyncGenerator[bytes, None]:
    """Server-sent events of one answer, `[DONE]` last."""
    model = reply.accepted.model
    envelope = _Envelope(call, model, has_usage=include_usage)
    usages: list[Usage] = []
    for index in range(reply.n):
        yield envelope.chunk(index, {"role": "assistant", "content": ""})
    async for heard in reply:
        if isinstance(heard, Said):
            if heard.logprobs:
                listed = await chat_logprobs(call.shared.token_texts, model, heard.logprobs)
                yield envelope.chunk(heard.index, {}, logprobs=listed)
            for part in heard.parts:
                piece = _piece(envelope, heard.index, part)
                if piece:
                    yield piece
        elif isinstance(heard, Progress):
            yield sse.comment(f"prefill {heard.done_tokens}/{heard.total_tokens}")
        else:
            usages.append(heard.usage)
            reason = reason_of(heard.finish_reason, has_calls=reply.has_calls[heard.index])
            yield envelope.chunk(heard.index, {}, reason=reason)
    if include_usage:
        yield envelope.usage(usage_of(usages))
    yield sse.DONE


def _piece(envelope: _Envelope, index: int, part: Part) -> bytes:
    match part:
        case Content(text):
            return envelope.content(index, "content", text)
        case Reasoning(text):
            return envelope.content(index, "reasoning_content", text)
        case CallBegan(call, name):
            function = {"name": name, "arguments": ""}
            made = {"index": call, "id": new_call_id(), "type": "function", "function": function}
            return envelope.chunk(index, {"tool_calls": [made]})
        case CallArguments(call, text):
            more = {"index": call, "function": {"arguments": text}}
            return envelope.chunk(index, {"tool_calls": [more]})
        case CallEnded():
            return b""
