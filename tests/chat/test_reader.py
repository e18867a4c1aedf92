"""Replies as the families write them, recorded, and what becomes of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umad.chat.call_forms import AROUND, CALL_FORMS, LAYOUT
from umad.chat.calls import DEEPSEEK_SEP
from umad.chat.events import (
    CallArguments,
    CallBegan,
    CallEnded,
    Content,
    Reasoning,
    ReplyEvent,
    merged,
)
from umad.chat.formats import FAMILIES, OWN_THINKING, ChatFormat, Family
from umad.chat.nested_tags import TOKEN as NESTED
from umad.chat.reader import ReplyReader
from umad.chat.tagged import DSML
from umad.conversation import Tool

SAMPLES: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "samples.json").read_text(encoding="utf-8")
)
THINK = ("<think>", "</think>")
THINKING = {"": None, "think": THINK, "[THINK]": ("[THINK]", "[/THINK]")}


def format_named(name: str) -> ChatFormat:
    """A family; behind a plus its marks of thinking, which may be its own."""
    family, _, thinking = name.partition("+")
    marks = OWN_THINKING.get(family, THINK) if thinking == "think" else THINKING[thinking]  # type: ignore[call-overload]
    return ChatFormat(
        family=family,  # type: ignore[arg-type]
        thinking=marks,
        takes_tools=True,
    )


def tools_of(sample: dict[str, Any]) -> list[Tool]:
    return [Tool(**one) for one in sample.get("tools", ())]


def read(
    format_: ChatFormat, *pieces: str, calls: bool = True, tools: Sequence[Tool] = ()
) -> list[ReplyEvent]:
    reader = ReplyReader(format_, calls=calls, tools=tools)
    events = [event for piece in pieces for event in reader.push(piece)]
    return merged([*events, *reader.finish()])


def summary(events: list[ReplyEvent]) -> dict[str, Any]:
    """As a dialect that does not stream would answer."""
    calls: list[list[Any]] = []
    texts = {Content: "", Reasoning: ""}
    ended = 0
    for event in events:
        match event:
            case Content(text) | Reasoning(text):
                texts[type(event)] += text
            case CallBegan(index, name):
                assert index == len(calls)
                calls.append([name, ""])
            case CallArguments(index, text):
                assert index == len(calls) - 1
                calls[-1][1] += text
            case CallEnded(index):
                assert index == ended
                ended += 1
    assert ended == len(calls)
    return {
        "content": texts[Content],
        "reasoning": texts[Reasoning],
        "calls": [[name, json.loads(text)] for name, text in calls],
    }


@pytest.mark.parametrize("name", SAMPLES)
def test_a_recorded_reply_is_taken_apart(name: str) -> None:
    sample = SAMPLES[name]

    found = summary(read(format_named(sample["format"]), sample["text"], tools=tools_of(sample)))

    expected = {"content": "", "reasoning": "", "calls": [], **sample["events"]}
    assert found == expected


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_division_of_a_reply_gives_the_same_events(data: st.DataObject) -> None:
    sample = SAMPLES[data.draw(st.sampled_from(sorted(SAMPLES)))]
    text, format_ = sample["text"], format_named(sample["format"])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    tools = tools_of(sample)
    whole = read(format_, text, tools=tools)
    assert read(format_, *pieces, tools=tools) == read(format_, *text, tools=tools) == whole


_FRAGMENTS = (
    *(mark for form in CALL_FORMS.values() for mark in form.marks),
    *(mark for marks in (*LAYOUT.values(), *AROUND.values()) for mark in marks),
    *("call:f{", "x:", '<|"|>', "f(", "x=", "'", ")", ' index="1"<|sep|>', NESTED, f"{NESTED}</x>"),
    *(f'{NESTED}<invoke name="f">', f"{NESTED}<x>", f"{NESTED}<item>", f"{NESTED}</item>"),
    *('<|open|>argument key="x" type="string"<|sep|>', "<|close|>argument<|sep|>"),
    *(f'<{DSML}invoke name="f">', f'<{DSML}parameter name="x" string="true">'),
    *("<think>", "</think>", "{", "}", "[", "]", '"name"', ":", ",", '"f"', '"arguments"', "{}"),
    *("[ARGS]", "<|message|>", "<|channel|>", "<|call|>", "to=functions.f", DEEPSEEK_SEP, "\n"),
    *("\\", '"', " ", "a", "```json\n", "function", "</function>", "</parameter>", "</arg_key>"),
    *("<parameter=x>", "<function=f>", "<arg_key>", "<arg_value>", "</arg_value>", "</invoke>"),
    *('<invoke name="f">', '<parameter name="x">', "f:0<|tool_call_argument_begin|>"),
)


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from([f for name in FAMILIES for f in (name, f"{name}+think")]),
    st.lists(st.sampled_from(_FRAGMENTS) | st.text(max_size=3), max_size=14),
    st.booleans(),
)
def test_nothing_a_model_writes_is_an_error_and_no_division_matters(
    name: str, fragments: list[str], calls: bool
) -> None:
    text = "".join(fragments)
    whole = read(format_named(name), text, calls=calls)

    assert read(format_named(name), *text, calls=calls) == whole
    assert read(format_named(name), *fragments, calls=calls) == whole
    began = [event.index for event in whole if isinstance(event, CallBegan)]
    ended = [event.index for event in whole if isinstance(event, CallEnded)]
    assert began == ended == list(range(len(began)))


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_a_plain_models_text_is_untouched(text: str) -> None:
    assert read(ChatFormat(), text, calls=False) == ([Content(text)] if text else [])


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": }</tool_call>',
        "<tool_call>search(x)</tool_call>",
        '<tool_call>{"arguments": {}}',
        "Use <tool_call> for it.",
        '<tool_call>{"name": 5, "arguments": {}}',
    ],
)
def test_a_malformed_call_is_text_again(text: str) -> None:
    found = summary(read(ChatFormat(family="hermes"), text))

    assert found["calls"] == []
    assert found["content"] == text.replace("</tool_call>", "")


def test_a_call_behind_a_malformed_one_is_still_a_call() -> None:
    text = '<tool_call>nonsense<tool_call>{"name": "f", "arguments": {}}</tool_call>'

    found = summary(read(ChatFormat(family="hermes"), text))

    assert found["calls"] == [["f", {}]]
    assert found["content"] == "<tool_call>nonsense"


def test_a_call_that_breaks_when_its_name_has_gone_out_ends_there() -> None:
    events = read(ChatFormat(family="hermes"), '<tool_call>{"name": "f", "arguments": {"x": 1]')

    assert events == [
        CallBegan(0, "f"),
        CallArguments(0, '{"x": 1'),
        CallEnded(0),
        Content("]"),
    ]


def test_arguments_come_while_they_are_written() -> None:
    reader = ReplyReader(ChatFormat(family="hermes"))

    assert reader.push('<tool_call>{"name": "f", "argu') == []
    assert reader.push('ments": {"x') == [CallBegan(0, "f"), CallArguments(0, '{"x')]
    assert reader.push('": 1') == [CallArguments(0, '": 1')]


def test_a_bare_text_goes_out_while_it_is_written_and_its_end_is_held_back() -> None:
    tool = Tool(name="w", parameters={"properties": {"text": {"type": "string"}}})
    reader = ReplyReader(ChatFormat(family="qwen_coder"), tools=[tool])

    reader.push("<tool_call>\n<function=w>\n<parameter=te")

    assert reader.push('xt>\nfirst "li') == [
        CallBegan(0, "w"),
        CallArguments(0, '{"text": "first \\"li'),
    ]
    assert reader.push('ne"\n</para') == [CallArguments(0, 'ne\\"')]
    assert reader.push("graph>") == [CallArguments(0, "\\n</paragraph>")]
    assert reader.push("\n</parameter>\n") == [CallArguments(0, '"')]


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("qwen_coder", "<tool_call>\nsearch(x)"),
        ("qwen_coder", "<tool_call><function=f> and so on"),
        ("qwen_coder", "<function=f"),
        ("glm", "Use <tool_call> for a <call>."),
        ("glm", "<tool_call>f<arg_key>x</arg_key>5"),
        ("minimax", "<minimax:tool_call>\n<call>"),
        ("kimi", "<|tool_call_begin|>functions.f:0"),
        ("granite", "<|tool_call|>[{]"),
    ],
)
def test_a_malformed_call_of_any_family_is_text_again(family: Family, text: str) -> None:
    assert read(ChatFormat(family=family), text) == [Content(text)]


def test_a_call_that_is_cut_off_has_what_was_written() -> None:
    events = read(ChatFormat(family="glm"), "<tool_call>f<arg_key>x</arg_key><arg_value>5</arg")

    assert events == [CallBegan(0, "f"), CallArguments(0, '{"x": '), CallEnded(0)]


def test_without_tools_what_looks_like_a_call_is_the_answer() -> None:
    text = '{"name": "f", "parameters": {}}'

    assert read(ChatFormat(family="llama3"), text, calls=False) == [Content(text)]


def test_json_that_is_no_call_streams_as_soon_as_that_is_known() -> None:
    reader = ReplyReader(ChatFormat(family="llama3"))

    assert reader.push('{"name": "Bob", "age":') == [Content('{"name": "Bob", "age":')]


@pytest.mark.parametrize("family", ["llama3", "deepseek", "kimi", "granite"])
def test_a_model_whose_template_has_no_tools_calls_in_hermes_way_or_its_own(
    family: Family,
) -> None:
    own = next(one["text"] for one in SAMPLES.values() if one["format"] == family and one["events"])
    hermes = '<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call>'

    for text in (own, hermes):
        assert summary(read(ChatFormat(family=family), text))["calls"]
    as_shown = ChatFormat(family=family, takes_tools=True)
    assert summary(read(as_shown, hermes))["content"] == hermes


def test_thinking_in_the_middle_of_an_answer_is_a_word() -> None:
    format_ = ChatFormat(family="hermes", thinking=THINK)

    assert read(format_, "A <think> tag") == [Content("A <think> tag")]
