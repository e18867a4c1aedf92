"""Calls in fenced blocks: what is one, what is not, and when that is known."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chat.test_reader import summary
from umad.chat.events import CallArguments, CallBegan, CallEnded, Content, ReplyEvent, merged
from umad.chat.formats import FAMILIES, ChatFormat
from umad.chat.reader import ReplyReader
from umad.conversation import Tool

HERMES = ChatFormat(family="hermes", takes_tools=True)
WEATHER = Tool(
    name="get_weather",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "maximum": 9}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
NOW = Tool(name="now", parameters={"type": "object", "properties": {}})
TOOLS = (WEATHER, NOW)
OSLO = '{"name": "get_weather", "arguments": {"city": "Oslo"}}'
CALLED: Any = ["get_weather", {"city": "Oslo"}]
TWICE = json.dumps(json.dumps({"city": "Oslo"}))


def read(
    *pieces: str, tools: Sequence[Tool] = TOOLS, cut: bool = False, **options: Any
) -> list[ReplyEvent]:
    reader = ReplyReader(HERMES, tools=tools, **{"fenced": True, **options})
    events = [event for piece in pieces for event in reader.push(piece)]
    return merged([*events, *reader.finish(cut=cut)])


CALLS: dict[str, tuple[str, list[Any], str]] = {
    "a block": (f"```json\n{OSLO}\n```", [CALLED], ""),
    "a block in capitals": (f"```JSON\n{OSLO}\n```", [CALLED], ""),
    "a block without a language": (f"```\n{OSLO}\n```", [CALLED], ""),
    "a block that says tool_call": (f"```tool_call\n{OSLO}\n```", [CALLED], ""),
    "a block on one line": (f"```json {OSLO} ```", [CALLED], ""),
    "words before it": (f"Let me look.\n\n```json\n{OSLO}\n```", [CALLED], "Let me look."),
    "words behind it": (f"```json\n{OSLO}\n```\nDone.", [CALLED], "Done."),
    "no closing fence": (f"```json\n{OSLO}\n", [CALLED], ""),
    "arguments first": (
        '```json\n{"arguments": {"city": "Oslo"}, "name": "get_weather"}\n```',
        [CALLED],
        "",
    ),
    "parameters for arguments": (
        f"```json\n{OSLO.replace('arguments', 'parameters')}\n```",
        [CALLED],
        "",
    ),
    "openai's own shape": (
        f'```json\n{{"type": "function", "function": {OSLO}}}\n```',
        [CALLED],
        "",
    ),
    "arguments encoded twice": (
        f'```json\n{{"name": "get_weather", "arguments": {TWICE}}}\n```',
        [CALLED],
        "",
    ),
    "many lines": (f"```json\n{json.dumps(json.loads(OSLO), indent=2)}\n```", [CALLED], ""),
    "a list of calls": (
        f'```json\n[{OSLO}, {{"name": "now", "arguments": {{}}}}]\n```',
        [CALLED, ["now", {}]],
        "",
    ),
    "one under the other": (
        f'```json\n{OSLO}\n{{"name": "now", "arguments": {{}}}}\n```',
        [CALLED, ["now", {}]],
        "",
    ),
    "two blocks": (f"```json\n{OSLO}\n```\n```json\n{OSLO}\n```", [CALLED, CALLED], ""),
    "a program before it": (
        f"```python\nprint(1)\n```\n```json\n{OSLO}\n```",
        [CALLED],
        "```python\nprint(1)\n```",
    ),
    "a block and then a mark": (
        f"```json\n{OSLO}\n```\n<tool_call>\n{OSLO}\n</tool_call>",
        [CALLED, CALLED],
        "",
    ),
}
TEXTS: dict[str, str] = {
    "another tool": OSLO.replace("get_weather", "get_time"),
    "half the name": OSLO.replace("get_weather", "get_weath"),
    "more than the name": OSLO.replace("get_weather", "get_weather_of"),
    "the name in capitals": OSLO.replace("get_weather", "Get_Weather"),
    "an argument missing": OSLO.replace('"city": "Oslo"', ""),
    "an argument of another type": OSLO.replace('"Oslo"', "5"),
    "an argument too many": OSLO.replace('"Oslo"', '"Oslo", "unit": "C"'),
    "an argument out of range": OSLO.replace('"Oslo"', '"Oslo", "days": 10'),
    "no arguments": '{"name": "get_weather"}',
    "arguments that are a list": '{"name": "get_weather", "arguments": ["Oslo"]}',
    "arguments twice": '{"name": "now", "arguments": {}, "parameters": {}}',
    "another key": '{"name": "get_weather", "arguments": {"city": "Oslo"}, "why": "asked"}',
    "a person": '{"name": "Bob", "age": 5}',
    "broken JSON": OSLO.replace('"Oslo"', '"Oslo" 5'),
    "a list with something else": f"[{OSLO}, 5]",
    "a call and words": f"{OSLO}\nand so on",
    "no JSON": "get_weather(city)",
    "nothing": "",
}


@pytest.mark.parametrize("meant", CALLS)
def test_a_block_that_is_a_call_is_one(meant: str) -> None:
    text, calls, content = CALLS[meant]

    found = summary(read(text))

    assert (found["calls"], found["content"].strip()) == (calls, content)


@pytest.mark.parametrize("meant", TEXTS)
def test_a_block_that_is_no_call_is_the_answers_text(meant: str) -> None:
    text = f"So:\n```json\n{TEXTS[meant]}\n```\nThat is it."

    assert read(text) == [Content(text)]


@pytest.mark.parametrize(
    "options",
    [{"fenced": False}, {"tools": ()}, {"calls": False}],
    ids=["turned off", "no tools known", "no tool may be called"],
)
def test_a_block_is_text_where_it_may_not_be_a_call(options: dict[str, Any]) -> None:
    text = f"```json\n{OSLO}\n```"

    assert read(text, **options) == [Content(text)]


def test_a_block_is_held_back_only_while_it_can_become_a_call() -> None:
    reader = ReplyReader(HERMES, tools=TOOLS, fenced=True)

    assert reader.push("See ```json") == [Content("See")]
    assert reader.push('\n{"name": "get') == []
    assert reader.push('_time"') == [Content(' ```json\n{"name": "get_time"')]
    assert reader.push(", ") == [Content(",")]


@pytest.mark.parametrize(
    "opening", ["```python\n", "```js", "```json\n5", '```json\n{"id', "```\nA"]
)
def test_a_program_streams_from_its_first_line(opening: str) -> None:
    reader = ReplyReader(HERMES, tools=TOOLS, fenced=True)

    told = reader.push(opening + "x")

    assert told == [Content(opening + "x")]


def test_a_block_that_was_cut_off_is_the_answers_text() -> None:
    text = '```json\n{"name": "get_weather", "arguments": {"city": "Os'

    assert read(text, cut=True) == [Content(text)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_may_write_a_block(family: Any) -> None:
    reader = ReplyReader(ChatFormat(family=family, takes_tools=True), tools=TOOLS, fenced=True)

    events = [*reader.push(f"```json\n{OSLO}\n```"), *reader.finish()]

    assert any(isinstance(one, CallBegan) for one in events) == (family != "harmony")


_FRAGMENTS = ("```", "json", "\n", OSLO, "{", "}", "[", "]", ",", '"name"', ": ", '"get_weather"')


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from((*_FRAGMENTS, "a", " ", "`", '"arguments"', "<tool_call>"))))
def test_no_division_of_a_reply_matters(fragments: list[str]) -> None:
    text = "".join(fragments)

    for one_call in (False, True):
        whole = read(text, one_call=one_call)
        assert read(*text, one_call=one_call) == whole
        assert read(*fragments, one_call=one_call) == whole


def test_a_reply_of_one_call_ends_with_it() -> None:
    reader = ReplyReader(HERMES, tools=TOOLS, one_call=True)
    call = f"<tool_call>\n{OSLO}\n</tool_call>\n"

    told = merged([*reader.push("So. " + call + call), *reader.push("More."), *reader.finish()])

    assert reader.is_over
    assert told == [
        Content("So."),
        CallBegan(0, "get_weather"),
        CallArguments(0, '{"city": "Oslo"}'),
        CallEnded(0),
    ]
