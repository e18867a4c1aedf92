"""Replies that were cut off or written wrong: no marks in their text, and no half call is whole."""

from typing import Any

import pytest

from umad.chat.call_forms import CALL_FORMS
from umad.chat.events import CallArguments, CallBegan, CallEnded, Content, Reasoning, merged
from umad.chat.formats import ChatFormat
from umad.chat.reader import ReplyReader
from umad.conversation import Tool

LOOK = Tool(name="look", parameters={"type": "object"})
OSLO = '{"name": "look", "arguments": {"city": "Oslo"}}'


def read(text: str, family: Any = "hermes", *, cut: bool = True, thinking: Any = None) -> list[Any]:
    """The parts, which are the same for any division of `text`."""
    format_ = ChatFormat(family=family, takes_tools=True, thinking=thinking)
    found = []
    for pieces in ([text], list(text)):
        reader = ReplyReader(format_, tools=[LOOK], fenced=True)
        events = [event for piece in pieces for event in reader.push(piece)]
        found.append(merged([*events, *reader.finish(cut=cut)]))
    assert found[0] == found[1]
    return found[0]


def content(events: list[Any]) -> str:
    return "".join(one.text for one in events if isinstance(one, Content))


_MARKS = [(family, mark) for family, form in CALL_FORMS.items() for mark in form.marks]


@pytest.mark.parametrize(("family", "mark"), _MARKS)
def test_a_mark_that_was_cut_off_is_no_text(family: str, mark: str) -> None:
    letters = next(at for at, c in enumerate(mark) if c.isalpha())
    for end in range(letters + 1, len(mark) + 1):
        assert content(read(f"Look: {mark[:end]}", family)).strip() == "Look:", mark[:end]


@pytest.mark.parametrize("sign", ["<", "</", "[", "`", "a <b"[:3]])
def test_a_sign_that_people_write_stays(sign: str) -> None:
    assert content(read(f"if a {sign}")) == f"if a {sign}"


@pytest.mark.parametrize(
    "text",
    ["<tool_call>", "<tool_call>\n", '<tool_call>\n{"na', '<tool_call>\n{"name": "lo'],
)
def test_a_call_without_a_name_yet_is_no_text(text: str) -> None:
    assert read(f"So.\n{text}") == [Content("So.")]


@pytest.mark.parametrize("text", ["<function", "<tool_call>\n<function=lo", "<tool_call>\n<fun"])
def test_a_call_between_tags_without_a_name_yet_is_no_text(text: str) -> None:
    assert read(f"So.\n{text}", "qwen_coder") == [Content("So.")]


def test_half_a_closing_mark_of_thinking_is_no_thought() -> None:
    events = read("<think>Hm.</thi", thinking=("<think>", "</think>"))

    assert events == [Reasoning("Hm.")]


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("hermes", '<tool_call>\n{"name": "look", "arguments": {"city": "Os'),
        ("mistral", '[TOOL_CALLS][{"name": "look", "arguments": {"city": "Os'),
        ("llama3", '{"name": "look", "parameters": {"city": "Os'),
        ("kimi", '<|tool_call_begin|>functions.look:0<|tool_call_argument_begin|>{"city": "Os'),
        ("harmony", '<|channel|>commentary to=functions.look<|message|>{"city": "Os'),
    ],
)
def test_a_call_that_was_cut_off_is_told_not_to_be_whole(family: str, text: str) -> None:
    events = read(text, family)

    assert events == [CallBegan(0, "look"), CallArguments(0, '{"city": "Os'), CallEnded(0)]
    assert not events[-1].is_whole


def test_the_mark_behind_half_a_channels_call_is_none_of_its_arguments() -> None:
    events = read("<|channel|>commentary to=functions.look<|message|>{}<|ca", "harmony")

    assert events[1] == CallArguments(0, "{}")


@pytest.mark.parametrize(
    "behind",
    [
        "",
        "\n</tool_call>",
        "\n</tool",
        "\n</tool>",
        "\n</tool_calls>",
        "\n</function>",
        "}\n</tool_call>",
        "\n</",
        "<",
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_what_closes_a_call_is_no_text_however_it_is_spelt(behind: str, cut: bool) -> None:
    events = read(f"<tool_call>\n{OSLO}{behind}", cut=cut)

    assert content(events) == ""
    assert events[-1] == CallEnded(0)
    assert events[-1].is_whole


@pytest.mark.parametrize("behind", ["\nDone.", "\n<b>Done</b>", "\n</tool_call>\nDone."])
def test_words_behind_a_call_are_text(behind: str) -> None:
    events = read(f"<tool_call>\n{OSLO}{behind}", cut=False)

    assert "Done" in content(events)
    assert "tool" not in content(events)


def test_a_broken_call_has_all_its_words_and_none_of_them_is_text() -> None:
    text = '<tool_call>\n{"name": "look", "arguments": {"a": [1}}\n</tool_call>\nDone.'

    events = read(text, cut=False)

    assert events == [
        CallBegan(0, "look"),
        CallArguments(0, '{"a": [1}}'),
        CallEnded(0),
        Content("Done."),
    ]
    assert not events[2].is_whole


@pytest.mark.parametrize("behind", ["", "\n</tool_call>", " </tool_call>\n"])
def test_a_call_without_its_last_brace_is_whole(behind: str) -> None:
    events = read(f"<tool_call>\n{OSLO[:-1]}{behind}", cut=False)

    assert events == [CallBegan(0, "look"), CallArguments(0, '{"city": "Oslo"}'), CallEnded(0)]
    assert events[-1].is_whole


def test_a_broken_call_is_not_waited_for_without_end() -> None:
    text = '<tool_call>{"name": "look", "arguments": {"a": 1]' + "x" * 10_000

    events = read(text, cut=False)

    assert events[-1] == Content("]" + "x" * 10_000)
