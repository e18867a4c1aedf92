"""Reads a chat's answer: its pieces while it arrives, and the whole of it at the end.

    for piece in client.stream("Why is the sky blue?"):
        if isinstance(piece, Content):
            print(piece.text, end="")

Not: the marks that a family of models writes (`umad.chat`). Each reader serves one answer.
"""

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from umad.chat.events import CallArguments, CallBegan, CallEnded, Content, Reasoning, ReplyEvent
from umad.chat.formats import format_of_facts
from umad.chat.reader import ReplyReader
from umad.client.methods import ModelFacts
from umad.conversation import ChatMessage, ToolCall
from umad.errors import UnknownModel
from umad.request import FinishReason, GenerateRequest, Timings, Usage
from umad.service import Accepted, Done, GenerationEvent, TokenLogprob, Tokens, was_cut


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatResult:
    """A whole answer; `str()` of it is its text."""

    # The text without thinking and tool calls.
    text: str
    # The thinking; empty where the model does not think.
    reasoning: str
    # The calls in the order they were made. `arguments` is JSON text, as the model wrote it.
    tool_calls: tuple[ToolCall, ...]
    # "length": the answer is not complete. "cancelled": somebody ended it.
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    # The name of the model that answered.
    model: str
    # The daemon's id of the request.
    request: str
    # The stop string that ended it, where one did.
    stop: str | None = None
    # For every token, where `logprobs` were asked for.
    logprobs: tuple[TokenLogprob, ...] = ()

    @override
    def __str__(self) -> str:
        return self.text

    @property
    def turn(self) -> ChatMessage:
        """The answer as a turn, for the messages of the next request."""
        return ChatMessage(
            role="assistant",
            content=self.text,
            tool_calls=self.tool_calls,
            reasoning=self.reasoning or None,
        )

    def json(self) -> Any:
        """The value of the text, for an answer that kept to a schema.

        Raises `ValueError` where the text is not JSON, for example when the answer ended with
        "length".
        """
        return json.loads(self.text)


Piece = Content | Reasoning | ToolCall | ChatResult


class ChatReading:
    """Turns the events of one completion into pieces.

    Texts come out as they arrive, a call once it is complete, and the result last.
    """

    def __init__(self, request: GenerateRequest, models: ModelFacts) -> None:
        # Without tools on offer, a text that looks like a call is the answer's text.
        self._options = request.chat
        self._tools = request.chat.tools if request.chat.tool_choice != "none" else ()
        self._models = {row["name"]: row for row in models}
        self._accepted: Accepted | None = None
        self._reader: ReplyReader | None = None
        self._said: list[Content] = []
        self._thought: list[Reasoning] = []
        self._calls: list[ToolCall] = []
        self._name, self._arguments = "", list[str]()
        self._logprobs: list[TokenLogprob] = []

    def __call__(self, event: GenerationEvent) -> Iterable[Piece]:
        """The pieces that `event` completes."""
        match event:
            case Accepted():
                self._begin(event)
            case Tokens() if self._reader is not None:
                self._logprobs.extend(event.logprobs or ())
                return self._pieces(self._reader.push(event.text))
            case Done() if self._reader is not None:
                last = self._reader.finish(cut=was_cut(event))
                return (*self._pieces(last), self._result(event))
            case _:
                pass
        return ()

    def _begin(self, accepted: Accepted) -> None:
        facts = self._models.get(accepted.model)
        if facts is None:
            raise UnknownModel(
                f"{accepted.model} was loaded just now; its format is not known yet: ask again",
                field="model",
            )
        self._accepted = accepted
        self._reader = ReplyReader(
            format_of_facts(facts),
            calls=bool(self._tools),
            tools=self._tools,
            fenced=self._options.fenced_calls,
            one_call=not self._options.parallel_tool_calls,
        )

    def _pieces(self, events: Iterable[ReplyEvent]) -> list[Piece]:
        pieces: list[Piece] = []
        for event in events:
            match event:
                case Content():
                    self._said.append(event)
                    pieces.append(event)
                case Reasoning():
                    self._thought.append(event)
                    pieces.append(event)
                case CallBegan():
                    self._name, self._arguments = event.name, []
                case CallArguments():
                    self._arguments.append(event.text)
                case CallEnded():
                    arguments = "".join(self._arguments)
                    id_ = f"call_{secrets.token_hex(12)}"
                    call = ToolCall(name=self._name, arguments=arguments, id=id_)
                    self._calls.append(call)
                    pieces.append(call)
        return pieces

    def _result(self, done: Done) -> ChatResult:
        accepted = self._accepted
        return ChatResult(
            text="".join([piece.text for piece in self._said]),
            reasoning="".join([piece.text for piece in self._thought]),
            tool_calls=tuple(self._calls),
            finish_reason=done.finish_reason,
            usage=done.usage,
            timings=done.timings,
            model="" if accepted is None else accepted.model,
            request="" if accepted is None else accepted.request,
            stop=done.stop,
            logprobs=tuple(self._logprobs),
        )
