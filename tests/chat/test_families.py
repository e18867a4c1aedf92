"""Every family's recorded replies, cut at every byte: the same parts, no marks, nothing else."""

import codecs
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chat.test_reader import SAMPLES, format_named, read, summary, tools_of
from umad.chat.call_forms import AROUND, LAYOUT, call_form
from umad.chat.events import (
    CallArguments,
    CallBegan,
    CallEnded,
    Content,
    Reasoning,
    ReplyEvent,
    merged,
)
from umad.chat.formats import FAMILIES
from umad.chat.reader import ReplyReader

WITHOUT_MARKS = ("llama 3.1: bare call", "llama 3.1: typed call")
THINKING = [n for n in SAMPLES if format_named(SAMPLES[n]["format"]).thinking is not None]
# Replies so short are cut at every two places, too.
SHORT_BYTES = 48
# Signs that people write, and that begin marks: the last ones of a reply that was cut off stay.
SIGNS = "</|[]\uff5c"
# Samples whose text shows a mark as a word, or a call that is none.
WITH_MARKS = (
    "llama 3.1: built-in tool stays text",
    "qwen3-coder: a word that is no tool stays text",
    "qwen 3.5: a mark in a thinking stays a word",
    "hunyuan a13b: an answer between its words",
)


def pieces(text: str, *cuts: int) -> Iterator[str]:
    """The text as it comes when its bytes come in pieces: a character when it is whole."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    data = text.encode()
    for begin, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        yield decoder.decode(data[begin:end])


def cut_off(sample: dict[str, Any], n_bytes: int) -> list[ReplyEvent]:
    """The parts of a reply that ended after so many bytes, because it was as long as it may be."""
    reader = ReplyReader(format_named(sample["format"]), tools=tools_of(sample))
    text = sample["text"].encode()[:n_bytes].decode(errors="ignore")
    return merged([*reader.push(text), *reader.finish(cut=True)])


def told(events: list[ReplyEvent]) -> tuple[str, str, list[tuple[str, str, bool]]]:
    """Content, reasoning, and each call: its name, its arguments, and whether it is whole."""
    texts = {Content: "", Reasoning: ""}
    calls: list[tuple[str, str, bool]] = []
    for event in events:
        match event:
            case Content(text) | Reasoning(text):
                texts[type(event)] += text
            case CallBegan(_, name):
                calls.append((name, "", False))
            case CallArguments(_, text):
                name, before, is_whole = calls[-1]
                calls[-1] = (name, before + text, is_whole)
            case CallEnded(_, is_whole):
                calls[-1] = (*calls[-1][:2], is_whole)
    return texts[Content], texts[Reasoning], calls


def begins(whole: str, said: str) -> bool:
    """Whether `said` is the beginning of `whole`."""
    return whole.startswith((said, said.rstrip(SIGNS).rstrip()))


def test_every_family_has_a_recorded_reply() -> None:
    recorded = {sample["format"].partition("+")[0] for sample in SAMPLES.values()}

    assert set(FAMILIES) - recorded == {"plain"}


@pytest.mark.parametrize("name", SAMPLES)
def test_no_cut_between_two_bytes_changes_a_reply(name: str) -> None:
    sample = SAMPLES[name]
    format_, tools, text = format_named(sample["format"]), tools_of(sample), sample["text"]
    whole = read(format_, text, tools=tools)
    n_bytes = len(text.encode())

    for cut in range(1, n_bytes):
        assert read(format_, *pieces(text, cut), tools=tools) == whole, cut
    for first in range(1, n_bytes if n_bytes <= SHORT_BYTES else 0):
        for second in range(first + 1, n_bytes):
            assert read(format_, *pieces(text, first, second), tools=tools) == whole


# JSON without a mark is an answer until it has the name of a tool.
@pytest.mark.parametrize("name", [n for n in SAMPLES if n not in WITHOUT_MARKS])
def test_a_reply_that_was_cut_off_says_what_it_said_so_far_and_nothing_else(name: str) -> None:
    sample = SAMPLES[name]
    whole = read(format_named(sample["format"]), sample["text"], tools=tools_of(sample))
    content, reasoning, calls = told(whole)

    for n_bytes in range(len(sample["text"].encode())):
        said, thought, called = told(cut_off(sample, n_bytes))
        assert begins(content, said), (n_bytes, said)
        assert begins(reasoning, thought), (n_bytes, thought)
        assert len(called) <= len(calls), n_bytes
        for (tool, arguments, is_whole), meant in zip(called, calls, strict=False):
            assert tool == meant[0], n_bytes
            assert meant[1].startswith(arguments), n_bytes
            assert not is_whole or arguments == meant[1], n_bytes
        assert all(is_whole for _, _, is_whole in called[:-1]), n_bytes


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in WITH_MARKS])
def test_no_mark_of_a_family_is_left_in_a_text(name: str) -> None:
    sample = SAMPLES[name]
    format_ = format_named(sample["format"])
    form = call_form(format_)
    marks = (
        *(() if form is None else form.marks),
        *LAYOUT.get(format_.family, ()),
        *AROUND.get(format_.family, ()),
        *(format_.thinking or ()),
        *("<|channel|>", "<|message|>", "<|constrain|>", "<|call|>", "<|end|>", "<|start|>"),
    )

    found = summary(read(format_, sample["text"], tools=tools_of(sample)))

    assert not [mark for mark in marks if mark in found["content"] + found["reasoning"]]


@pytest.mark.parametrize("name", THINKING)
def test_a_thinking_that_the_template_opened_reads_as_one_that_the_model_opened(name: str) -> None:
    """The opening comes first and alone then, with what the template wrote behind it."""
    sample = SAMPLES[name]
    format_, tools, text = format_named(sample["format"]), tools_of(sample), sample["text"]
    assert format_.thinking is not None
    opening = format_.thinking[0]
    if not text.startswith(opening):
        pytest.skip("this reply does not begin with thinking")

    opened = read(format_, f"{opening}\n", text.removeprefix(opening), tools=tools)

    assert summary(opened) == summary(read(format_, text, tools=tools))


@pytest.mark.parametrize("name", SAMPLES)
def test_without_tools_on_offer_a_reply_has_no_calls_and_its_thinking_is_the_same(
    name: str,
) -> None:
    sample = SAMPLES[name]
    format_ = format_named(sample["format"])
    if format_.family == "harmony" or ("not closed" in name and "the answer" not in name):
        pytest.skip("only a call ends this thinking")

    found = summary(read(format_, sample["text"], calls=False))

    assert found["calls"] == []
    assert found["reasoning"] == sample["events"].get("reasoning", "")


def test_harmonys_calls_are_skipped_where_no_tool_is_on_offer() -> None:
    sample = SAMPLES["gpt-oss: two calls on either channel, a mark in a text"]

    found = summary(read(format_named("harmony"), sample["text"], calls=False))

    assert found == {"content": "I look at both.", "reasoning": "", "calls": []}
