"""Shapes a chat's turns as a family's template expects them, where that is not the usual way.

    most           results in the order of their calls, since their templates show no ids
    gpt-oss        one call in a turn: its template shows no second one
    Kimi K2        ids of calls by number (`umad.chat.call_ids`)
    LFM2, Granite  some templates know tools and no calls: the calls are written into the words
    Mistral        thoughts as blocks of a turn's words, where its template knows them
    Gemma 4        its first template wants results inside the turn that called

Pure. Not: forms for templates that refuse a chat (`turn_forms`).
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from umad.chat.call_ids import numbered
from umad.chat.formats import Family
from umad.conversation import ChatMessage, ToolCall
from umad.engine.chats.past_calls import arguments_of
from umad.engine.chats.template_program import to_json

BETWEEN_WORDS = "\n\n"
_GEMMA_TURN_END, _GEMMA_TURN = "<turn|>\n", "<|turn>model\n"
_KNOWS_RESULTS = re.compile(r"role'?\]?\s*[!=]=\s*'tool'")

_KNOWS_THOUGHTS = re.compile(r"type'?\]?\s*==\s*'thinking'")

Guard = Callable[[str], str]
Messages = list[dict[str, Any]]
CallWords = Callable[[Sequence[ToolCall], Guard], str]


def family_turns(family: Family, turns: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
    """The turns as templates of this family expect them."""
    if family == "kimi":  # it shows which call a result answers
        return numbered(turns)
    ordered = tuple(_in_order_of_calls(turns))
    if family == "harmony":
        return tuple(_one_call_each(ordered))
    return ordered


def _runs(turns: Sequence[ChatMessage]) -> Iterator[tuple[ChatMessage, list[ChatMessage]]]:
    """Each turn that is no result, with the results behind it. Results before all other turns come
    one by one.
    """
    at = 0
    while at < len(turns):
        turn = turns[at]
        at += 1
        results: list[ChatMessage] = []
        while turn.role != "tool" and at < len(turns) and turns[at].role == "tool":
            results.append(turns[at])
            at += 1
        yield turn, results


def _in_order_of_calls(turns: Sequence[ChatMessage]) -> Iterator[ChatMessage]:
    for turn, results in _runs(turns):
        yield turn
        ids = [call.id for call in turn.tool_calls]
        answered = [result.tool_call_id for result in results]
        if (
            None not in answered
            and len(set(answered)) == len(answered)
            and set(answered) <= set(ids)
        ):
            results.sort(key=lambda result: ids.index(result.tool_call_id))
        yield from results


def _one_call_each(turns: Sequence[ChatMessage]) -> Iterator[ChatMessage]:
    for turn, results in _runs(turns):
        if not turn.tool_calls:
            yield turn
            yield from results
            continue
        # The template takes the words beside a call for thoughts, and not both.
        thoughts = BETWEEN_WORDS.join(one for one in (turn.reasoning, turn.content) if one)
        first = replace(turn, content="", reasoning=thoughts or None)
        left = list(results)
        for at, call in enumerate(turn.tool_calls):
            before = first if at == 0 else replace(first, reasoning=None)
            yield replace(before, tool_calls=(call,))
            is_last = at == len(turn.tool_calls) - 1
            answers = [one for one in left if is_last or one.tool_call_id == call.id]
            yield from answers
            left = [one for one in left if one not in answers]


def call_words(family: Family, source: str) -> CallWords | None:
    """What writes calls into the words of a turn; None where the template writes them itself."""
    return None if "tool_calls" in source else _WORDS.get(family)


def _granite_words(calls: Sequence[ToolCall], guard: Guard) -> str:
    listed = [{"name": call.name, "arguments": arguments_of(call.arguments)} for call in calls]
    return f"<|tool_call|>{guard(to_json(listed))}"


def _lfm2_words(calls: Sequence[ToolCall], guard: Guard) -> str:
    written = ", ".join(_python_call(call) for call in calls)
    return f"<|tool_call_start|>[{guard(written)}]<|tool_call_end|>"


def _python_call(call: ToolCall) -> str:
    arguments = arguments_of(call.arguments).items()
    return f"{call.name}({', '.join(f'{key}={_literal(value)}' for key, value in arguments)})"


def _literal(value: object) -> str:
    if isinstance(value, str):
        is_simple = not any(one in value for one in "'\\\n")
        return f"'{value}'" if is_simple else json.dumps(value, ensure_ascii=False)
    return to_json(value) if isinstance(value, dict | list) else str(value)


_WORDS: Mapping[Family, CallWords] = {"granite": _granite_words, "lfm2": _lfm2_words}


def message_shape(family: Family, source: str) -> Callable[[Messages], Messages]:
    """What changes the turns in the form in which templates know them."""
    if family == "gemma4" and _KNOWS_RESULTS.search(source) is None:
        return _with_responses
    if family in ("mistral", "mistral_args") and _KNOWS_THOUGHTS.search(source) is not None:
        return _with_thoughts
    return list


def _with_thoughts(messages: Messages) -> Messages:
    """An assistant's words as blocks, of which the first has its thoughts."""
    return [
        {**one, "content": _blocks(one["reasoning_content"], one["content"])}
        if one["role"] == "assistant" and one.get("reasoning_content")
        else one
        for one in messages
    ]


def _blocks(thoughts: str, words: str) -> list[dict[str, str]]:
    said = [{"type": "text", "text": words}] if words else []
    return [{"type": "thinking", "thinking": thoughts}, *said]


def _with_responses(messages: Messages) -> Messages:
    """The turns, as templates know them, with results inside the turn that called."""
    done: list[dict[str, Any]] = []
    for message in messages:
        last = done[-1] if done else {}
        calls = last.get("tool_calls")
        if message["role"] == "tool" and calls:
            responses = last.setdefault("tool_responses", [])
            named = [one for one in calls if one["id"] == message.get("tool_call_id")]
            call = (named or calls[len(responses) :] or calls)[0]
            responses.append(
                {"name": call["function"]["name"], "response": _response(message["content"])}
            )
        elif (
            message["role"] == "assistant"
            and last.get("tool_responses")
            and not last["content"]
            and "tool_calls" not in message
        ):
            # The answer goes on in the turn that called.
            last["content"] = message["content"]
        else:
            done.append(message)
    return done


def _response(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text


def with_answer_begun(family: Family, text: str) -> str:
    """The rendered chat. Gemma 4's templates forget to begin the answer behind a call that had
    words beside it.
    """
    is_forgotten = family == "gemma4" and text.endswith(_GEMMA_TURN_END)
    return text + _GEMMA_TURN if is_forgotten else text
