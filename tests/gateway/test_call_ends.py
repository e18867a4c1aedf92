"""How an answer with tool calls ends: with the first of them, or cut off, in every dialect."""

import json
from typing import Any

import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from tests.gateway.scripted_service import Scripted, post
from umad.config import HttpSettings

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
FUNCTION = {"name": "look", "parameters": SCHEMA}
OPENAI_TOOLS: Any = [{"type": "function", "function": FUNCTION}]
ASK: Any = [{"role": "user", "content": "Weather in Oslo?"}]
CALL = '{"name": "look", "arguments": {"city": "Oslo"}}'
MARKED = f"<tool_call>\n{CALL}\n</tool_call>"
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": ASK, "tools": OPENAI_TOOLS},
    "/v1/responses": {
        "input": ASK,
        "tools": [{"type": "function", **FUNCTION}],
        "store": False,
    },
    "/v1/messages": {
        "model": "m",
        "max_tokens": 99,
        "messages": ASK,
        "tools": [{"name": "look", "input_schema": SCHEMA}],
    },
    "/api/chat": {"model": "m", "messages": ASK, "tools": OPENAI_TOOLS, "stream": False},
}
ONE_CALL: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"parallel_tool_calls": False},
    "/v1/responses": {"parallel_tool_calls": False},
    "/v1/messages": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
}
NO_CALL: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"tool_choice": "none"},
    "/v1/responses": {"tool_choice": "none"},
    "/v1/messages": {"tool_choice": {"type": "none"}},
}


def summary(path: str, answer: dict[str, Any]) -> tuple[str, list[Any], str]:
    """(text, calls, the reason it ended) of an answer that is not streamed."""
    match path:
        case "/v1/chat/completions":
            (choice,) = ChatCompletion.model_validate(answer).choices
            calls = [
                one["function"] for one in answer["choices"][0]["message"].get("tool_calls", ())
            ]
            made = [(one["name"], one["arguments"]) for one in calls]
            return choice.message.content or "", made, choice.finish_reason
        case "/v1/responses":
            Response.model_validate(answer)
            text = [
                part["text"]
                for item in answer["output"]
                if item["type"] == "message"
                for part in item["content"]
            ]
            made = [
                (item["name"], item["arguments"])
                for item in answer["output"]
                if item["type"] == "function_call"
            ]
            return "".join(text), made, answer["status"]
        case "/v1/messages":
            Message.model_validate(answer)
            text = [one["text"] for one in answer["content"] if one["type"] == "text"]
            uses = [one for one in answer["content"] if one["type"] == "tool_use"]
            made = [(one["name"], json.dumps(one["input"])) for one in uses]
            return "".join(text), made, answer["stop_reason"]
        case _:
            told = answer["message"]
            uses = [one["function"] for one in told.get("tool_calls", ())]
            made = [(one["name"], json.dumps(one["arguments"])) for one in uses]
            return told["content"], made, answer["done_reason"]


def said(
    path: str, *words: str, settings: HttpSettings | None = None, more: Any = (), **ending: Any
) -> tuple[str, list[Any], str]:
    service = Scripted(words, **ending)
    answer = post(service, path, {**BODIES[path], **dict(more)}, settings)
    assert answer.status_code == 200, answer.text
    text, calls, reason = summary(path, answer.json())
    return text.strip(), calls, reason


OSLO = ("look", '{"city": "Oslo"}')
CALLED = {
    "/v1/chat/completions": "tool_calls",
    "/v1/responses": "completed",
    "/v1/messages": "tool_use",
    "/api/chat": "stop",
}
CUT = {
    "/v1/chat/completions": "length",
    "/v1/responses": "incomplete",
    "/v1/messages": "max_tokens",
    "/api/chat": "length",
}
ENDED = {**CALLED, "/v1/chat/completions": "stop", "/v1/messages": "end_turn"}


@pytest.mark.parametrize("path", ONE_CALL)
@pytest.mark.parametrize("words", [(MARKED, MARKED, " More."), (f"{MARKED}\n{MARKED} More.",)])
def test_an_answer_of_one_call_has_nothing_behind_it(path: str, words: tuple[str, ...]) -> None:
    assert said(path, *words, more=ONE_CALL[path]) == ("", [OSLO], CALLED[path])


@pytest.mark.parametrize("path", ONE_CALL)
def test_the_engine_is_told_that_one_call_ends_the_answer(path: str) -> None:
    one, many = Scripted([MARKED]), Scripted([MARKED])

    post(one, path, {**BODIES[path], **ONE_CALL[path]})
    post(many, path, BODIES[path])

    assert not one.asked[0].chat.parallel_tool_calls
    assert many.asked[0].chat.parallel_tool_calls


@pytest.mark.parametrize("path", BODIES)
def test_several_calls_are_several_where_nobody_forbids_them(path: str) -> None:
    assert said(path, MARKED, MARKED) == ("", [OSLO, OSLO], CALLED[path])


@pytest.mark.parametrize("path", ONE_CALL)
def test_a_stream_of_one_call_says_the_same(path: str) -> None:
    body = {**BODIES[path], **ONE_CALL[path], "stream": True}

    text = post(Scripted([MARKED, "\n", MARKED, " More."]), path, body).text

    assert text.count("Oslo") <= 4  # a response says it in its deltas and in what they add up to
    assert "More." not in text
    assert text.count('"name":"look"') == post(Scripted([MARKED]), path, body).text.count(
        '"name":"look"'
    )


# -- cut off ---------------------------------------------------------------------------------------

HALF = '<tool_call>\n{"name": "look", "arguments": {"city": "Os'


@pytest.mark.parametrize(
    ("path", "calls"),
    [
        ("/v1/chat/completions", [("look", '{"city": "Os')]),
        ("/v1/responses", [("look", '{"city": "Os')]),
        # An object: only what was whole by then.
        ("/v1/messages", [("look", "{}")]),
        # Its clients run a call at once, so half a call is none.
        ("/api/chat", []),
    ],
)
def test_a_call_that_the_limit_cut_off_is_never_a_whole_one(path: str, calls: list[Any]) -> None:
    assert said(path, "So. ", HALF, reason="length") == ("So.", calls, CUT[path])


@pytest.mark.parametrize(
    ("written", "whole"),
    [
        ('{"city": "Oslo", "n": 1', {"city": "Oslo"}),
        ('{"city": "Oslo", "n": 12, "m": -1.', {"city": "Oslo", "n": 12}),
        ('{"city": "Oslo", "a": [1, 2', {"city": "Oslo", "a": [1]}),
        ('{"city": "Oslo", "a": tr', {"city": "Oslo"}),
        ('{"city": "Oslo 12', {}),
        ('{"ci', {}),
        ("", {}),
    ],
)
def test_a_messages_input_has_only_what_was_whole(written: str, whole: dict[str, Any]) -> None:
    call = f'<tool_call>\n{{"name": "look", "arguments": {written}'

    _, calls, _ = said("/v1/messages", call, reason="length")

    assert [json.loads(one[1]) for one in calls] == ([whole] if written else [])


def test_a_responses_item_that_was_cut_off_says_so_itself() -> None:
    body = BODIES["/v1/responses"]

    answer = post(Scripted([MARKED, HALF], reason="length"), "/v1/responses", body).json()

    assert [item["status"] for item in answer["output"]] == ["completed", "incomplete"]
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    events = post(Scripted([HALF], reason="length"), "/v1/responses", {**body, "stream": True}).text
    assert "event: response.incomplete" in events
    assert '"status":"completed"' not in events


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("half", ["<tool_ca", "<tool_call>", '<tool_call>\n{"name": "lo', "</tool"])
def test_half_a_mark_is_no_text(path: str, half: str) -> None:
    assert said(path, "So.", "\n", half, reason="length") == ("So.", [], CUT[path])


@pytest.mark.parametrize("path", BODIES)
def test_a_call_that_a_stop_string_cut_off_is_no_reason_to_run_it(path: str) -> None:
    _, _, reason = said(path, HALF, stop="Oslo")

    assert reason == {**ENDED, "/v1/messages": "stop_sequence"}[path]


@pytest.mark.parametrize("path", BODIES)
def test_a_broken_call_leaves_no_mark_in_the_text(path: str) -> None:
    broken = '<tool_call>\n{"name": "look", "arguments": {"city": ]}}\n</tool_call>'

    text, calls, _ = said(path, broken)

    assert "tool_call" not in text
    if path == "/api/chat":
        assert "look" in text
        assert calls == []
    else:
        assert text == ""
        assert len(calls) == 1


# -- fenced ----------------------------------------------------------------------------------------

FENCED = f"```json\n{CALL}\n```"


@pytest.mark.parametrize("path", BODIES)
def test_a_fenced_block_that_is_a_call_is_one(path: str) -> None:
    assert said(path, "Let me look.\n", FENCED) == ("Let me look.", [OSLO], CALLED[path])


@pytest.mark.parametrize("path", BODIES)
def test_a_setting_leaves_it_text(path: str) -> None:
    settings = HttpSettings(fenced_calls=False)

    assert said(path, FENCED, settings=settings) == (FENCED, [], ENDED[path])


@pytest.mark.parametrize("path", NO_CALL)
def test_where_no_call_is_wanted_it_is_text(path: str) -> None:
    assert said(path, FENCED, more=NO_CALL[path]) == (FENCED, [], ENDED[path])


@pytest.mark.parametrize("path", ONE_CALL)
def test_a_fenced_call_ends_an_answer_of_one_call(path: str) -> None:
    assert said(path, FENCED, "\n", FENCED, more=ONE_CALL[path]) == ("", [OSLO], CALLED[path])
