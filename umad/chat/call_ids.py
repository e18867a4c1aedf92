"""Numbers the ids of calls for Kimi, whose templates show nothing of a call but its id.

Pure. https://huggingface.co/moonshotai/Kimi-K2-Instruct/blob/main/docs/tool_call_guidance.md
"""

from collections.abc import Sequence
from dataclasses import replace

from umad.conversation import ChatMessage


def numbered(turns: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The turns with every call's id as functions.NAME:NUMBER, counted through the chat."""
    ids: dict[str | None, str] = {}
    done: list[ChatMessage] = []
    for turn in turns:
        calls = []
        for call in turn.tool_calls:
            known_as = f"functions.{call.name}:{len(ids)}"
            # A call without an id is counted, too.
            ids[call.id or known_as] = known_as
            calls.append(replace(call, id=known_as))
        answers = ids.get(turn.tool_call_id, turn.tool_call_id)
        done.append(replace(turn, tool_calls=tuple(calls), tool_call_id=answers))
    return done
