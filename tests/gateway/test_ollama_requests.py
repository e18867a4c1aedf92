"""Ollama's bodies become umad's requests; options that shape a runner change nothing."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from umad.conversation import ToolCall
from umad.errors import BadRequest, Unsupported
from umad.gateway.bodies.durations import seconds_of
from umad.gateway.bodies.ollama import OllamaChatBody, OllamaGenerateBody
from umad.gateway.dialects.ollama.requests import chat_request, generate_request
from umad.request import GenerateRequest

HELLO = [{"role": "user", "content": "hello"}]


def chat(**body: Any) -> GenerateRequest:
    whole = {"model": "nano", "messages": HELLO, **body}
    return chat_request(OllamaChatBody.model_validate(whole))


def generate(**body: Any) -> GenerateRequest:
    whole = {"model": "nano:latest", "prompt": "hello", **body}
    return generate_request(OllamaGenerateBody.model_validate(whole))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "num_ctx": st.integers(1, 2**17),
            "num_gpu": st.integers(-1, 99),
            "num_thread": st.integers(1, 64),
            "num_batch": st.integers(1, 4096),
            "use_mmap": st.booleans(),
            "mirostat": st.integers(0, 2),
            "tfs_z": st.floats(0, 1),
        },
    )
)
def test_options_that_shape_a_runner_do_not_change_the_request(options: dict[str, Any]) -> None:
    assert chat(options=options) == chat()


def test_sampling_options_arrive_under_umads_names() -> None:
    sampling = chat(
        options={
            "num_predict": 7,
            "temperature": 0.5,
            "top_k": 4,
            "repeat_penalty": 1.1,
            "repeat_last_n": -1,
            "seed": 0,
            "stop": ["a", "b"],
        }
    ).sampling

    assert (sampling.max_tokens, sampling.temperature, sampling.top_k) == (7, 0.5, 4)
    assert (sampling.repetition_penalty, sampling.seed) == (1.1, 0)
    assert sampling.stop == ("a", "b")


@pytest.mark.parametrize("wanted", [None, -1, -2, 0])
def test_tokens_without_end_are_as_many_as_fit(wanted: int | None) -> None:
    options = {} if wanted is None else {"num_predict": wanted}

    sampling = chat(options=options).sampling

    assert sampling.max_tokens is None
    assert sampling.fit


def test_a_prompt_is_a_turn_of_a_chat_and_with_raw_it_is_text() -> None:
    spoken = generate(system="be brief")
    raw = generate(raw=True)

    assert [turn.role for turn in spoken.messages or ()] == ["system", "user"]
    assert raw.messages is None
    assert raw.prompt == "hello"


def test_tool_calls_and_results_keep_their_names() -> None:
    call = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    request = chat(
        messages=[
            *HELLO,
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_name": "weather", "content": "4 degrees"},
        ]
    )

    turns = request.messages or ()
    assert turns[1].tool_calls == (ToolCall(name="weather", arguments='{"city": "Oslo"}'),)
    assert (turns[2].role, turns[2].name) == ("tool", "weather")


def test_tools_of_unknown_types_are_skipped() -> None:
    tools = [{"type": "browser"}, {"type": "function", "function": {"name": "weather"}}]

    assert [tool.name for tool in chat(tools=tools).chat.tools] == ["weather"]


def test_a_format_constrains_the_answer() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}

    asked = chat(format=schema).constraint
    assert asked is not None
    assert "integer" in asked.text
    assert chat(format="json").constraint is not None
    assert chat(format="").constraint is None


@pytest.mark.parametrize(
    ("think", "wanted"),
    [
        (None, {}),
        (True, {"enable_thinking": True}),
        (False, {"enable_thinking": False}),
        ("high", {"enable_thinking": True, "reasoning_effort": "high"}),
    ],
)
def test_think_is_told_to_the_template(think: Any, wanted: dict[str, Any]) -> None:
    assert chat(think=think).chat.template_kwargs == wanted


def test_images_stand_before_the_words_of_their_turn() -> None:
    (turn,) = (
        chat(messages=[{"role": "user", "content": "look", "images": ["aaaa"]}]).messages or ()
    )

    assert turn.content == "look"
    assert [(one.at, one.file.data, one.file.place) for one in turn.media] == [
        (0, b"i\xa6\x9a", "messages.0.images.0")
    ]


def test_unknown_roles_are_refused_by_their_field() -> None:
    with pytest.raises(BadRequest, match="assistant") as role:
        chat(messages=[{"role": "robot", "content": "x"}])

    assert role.value.field == "messages.0.role"


def test_what_would_not_be_done_as_asked_is_said() -> None:
    with pytest.raises(Unsupported) as refusal:
        generate(template="x")
    assert refusal.value.field == "template"


@pytest.mark.parametrize(
    ("text", "wanted_s"),
    [("5m", 300), ("1h30m", 5400), ("500ms", 0.5), ("-1m", math.inf), ("0", 0), (-1, math.inf)],
)
def test_durations_are_read_as_go_reads_them(text: float | str, wanted_s: float) -> None:
    assert seconds_of(text) == wanted_s


def test_what_is_no_duration_is_refused() -> None:
    with pytest.raises(ValidationError, match="keep_alive"):
        chat(keep_alive="soon")
