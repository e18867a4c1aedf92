"""Streams a running answer as Ollama's lines, for chats and for raw prompts.

A line without text goes out at once, and another one while each part of a long prompt is read. So
the client sees headers and signs of life before the first token. Owner: the request's task.
"""

from collections.abc import AsyncGenerator, Sequence

from umad.gateway.answer_parts import CallArguments, CallBegan, CallEnded, Content, Reasoning
from umad.gateway.dialects.ollama.stream import ChatLines, DoneReason, GenerateLines, Line
from umad.gateway.dialects.openai.logprobs import chat_logprobs
from umad.gateway.gateway_call import GatewayCall
from umad.gateway.generation import GatewayGeneration
from umad.gateway.replies import ChatReply, Said, new_call_id
from umad.request import GenerateRequest
from umad.service import Done, TokenLogprob, Tokens, was_cut


async def _with_logprobs(
    call: GatewayCall, model: str, line: Line, logprobs: Sequence[TokenLogprob] | None
) -> Line:
    if not logprobs:
        return line
    return {**line, "logprobs": await chat_logprobs(call.shared.token_bytes, model, logprobs)}


def _reason(done: Done) -> DoneReason:
    return "length" if done.finish_reason == "length" else "stop"


class ChatAnswer:
    """The answer of a chat: text, thinking, and calls. A call is told when it is whole: Ollama's
    clients run it at once, and have no word for half a call. A broken one is text.
    """

    def __init__(
        self,
        call: GatewayCall,
        reply: ChatReply,
        lines: ChatLines | GenerateLines,
        *,
        context_of: GenerateRequest | None = None,
    ) -> None:
        """context_of: the request, where the last line has `context`: the tokens of the whole
        conversation, which a client sends back to continue it.
        """
        self._context_of = context_of
        self._ids: list[int] = []
        self._call = call
        self._reply = reply
        self._lines = lines
        self._name = ""
        self._arguments: list[str] = []
        # A call that is not whole.
        self._broken = ""

    async def lines(self) -> AsyncGenerator[Line, None]:
        """Every line of it, the last one with counts."""
        model = self._reply.accepted.model
        yield self._lines.text("")
        async for heard in self._reply:
            if isinstance(heard, Said):
                if self._context_of is not None:
                    self._ids += heard.ids
                said = self._told(heard)
                if heard.logprobs and not said:
                    said = [self._lines.text("")]
                for at, line in enumerate(said):
                    logprobs = None if at else heard.logprobs
                    yield await _with_logprobs(self._call, model, line, logprobs)
            elif isinstance(heard, Done):
                if self._broken and not was_cut(heard):
                    yield self._lines.text(self._broken)
                last = self._lines.end(_reason(heard), heard.usage, heard.timings)
                yield {**last, **await self._context()}
            else:
                yield self._lines.text("")

    async def _context(self) -> dict[str, list[int]]:
        request = self._context_of
        if request is None:
            return {}
        prompt = await self._call.service.render(
            request.messages, chat=request.chat, model=self._reply.accepted.model
        )
        return {"context": [*prompt.ids, *self._ids]}

    def _told(self, said: Said) -> list[Line]:
        told: list[Line] = []
        for part in said.parts:
            if self._broken:
                told.append(self._lines.text(self._broken))
                self._broken = ""
            match part:
                case Content(text):
                    told.append(self._lines.text(text))
                case Reasoning(text):
                    told.append(self._lines.thinking(text))
                case CallBegan(_, name):
                    self._name, self._arguments = name, []
                case CallArguments(_, text):
                    self._arguments.append(text)
                case CallEnded(_, False):
                    self._broken = f"{self._name} {''.join(self._arguments)}"
                case CallEnded():
                    arguments = "".join(self._arguments)
                    told.append(
                        self._lines.call(id_=new_call_id(), name=self._name, arguments=arguments)
                    )
        return told


class RawAnswer:
    """The answer to a prompt that no template was put around."""

    def __init__(
        self, call: GatewayCall, generation: GatewayGeneration, lines: GenerateLines
    ) -> None:
        self._call = call
        self._generation = generation
        self._lines = lines

    async def lines(self) -> AsyncGenerator[Line, None]:
        """Every line of it, the last one with counts."""
        model = self._generation.accepted.model
        yield self._lines.text("")
        async for event in self._generation:
            if isinstance(event, Tokens):
                line = self._lines.text(event.text)
                yield await _with_logprobs(self._call, model, line, event.logprobs)
            elif isinstance(event, Done):
                yield self._lines.end(_reason(event), event.usage, event.timings)
            else:
                yield self._lines.text("")
