"""Names the parts of an answer, and makes the reader for a model's family of chat formats.

This is the only module of the gateway that imports them from `umad.chat`.
"""

from collections.abc import Mapping
from typing import Any

from umad.chat.events import (
    CallArguments,
    CallBegan,
    CallEnded,
    Content,
    Reasoning,
    ReplyEvent,
)
from umad.chat.formats import format_of_facts
from umad.chat.reader import ReplyReader
from umad.conversation import ChatOptions

AnswerPart = ReplyEvent
AnswerReader = ReplyReader


def reader_of(facts: Mapping[str, Any], options: ChatOptions) -> AnswerReader:
    """A reader for one answer of the model with these facts, to a chat with these options."""
    # Without tools on offer, what looks like a call is the answer's text.
    tools = options.tools if options.tool_choice != "none" else ()
    return ReplyReader(
        format_of_facts(facts),
        calls=bool(tools),
        tools=tools,
        fenced=options.fenced_calls,
        one_call=not options.parallel_tool_calls,
    )


__all__ = [
    "AnswerPart",
    "AnswerReader",
    "CallArguments",
    "CallBegan",
    "CallEnded",
    "Content",
    "Reasoning",
    "reader_of",
]
