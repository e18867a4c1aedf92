"""A Messages body becomes one of umad's requests."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from umad.conversation import ChatMessage, ToolCall
from umad.errors import BadRequest
from umad.gateway.bodies.anthropic import MessagesBody
from umad.gateway.dialects.anthropic.attribution import without_attribution
from umad.gateway.dialects.anthropic.conversation import request_of
from umad.request import GenerateRequest

WEATHER = {
    "name": "weather",
    "description": "Weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
HELLO = [{"role": "user", "content": "hello"}]


def asked(**body: Any) -> GenerateRequest:
    """The request of a body; what is left out is filled in."""
    whole = {"model": "nano", "max_tokens": 64, "messages": HELLO, **body}
    return request_of(MessagesBody.model_validate(whole))


def turns(*messages: dict[str, Any], **body: Any) -> list[ChatMessage]:
    return list(asked(messages=list(messages), **body).messages or ())


def test_a_system_prompt_in_blocks_is_one_first_turn() -> None:
    found = turns(
        {"role": "user", "content": "hello"},
        system=[{"type": "text", "text": "be brief"}, {"type": "text", "text": "be kind"}],
    )

    assert [turn.role for turn in found] == ["system", "user"]
    assert found[0].content == "be brief\n\nbe kind"


@given(st.text(alphabet="abcdef0123456789.", min_size=1, max_size=12), st.booleans())
def test_claude_codes_attribution_line_does_not_reach_the_prompt(value: str, blocks: bool) -> None:
    line = f"x-anthropic-billing-header: cc_version={value}; cc_entrypoint=cli; cch={value};"
    system: Any = f"{line}\nYou are an agent."
    if blocks:
        system = [{"type": "text", "text": line}, {"type": "text", "text": "You are an agent."}]

    found = turns({"role": "user", "content": "hello"}, system=system)

    assert found[0] == ChatMessage(role="system", content="You are an agent.")


def test_the_same_words_further_down_are_somebodys_text() -> None:
    text = "Read this:\nx-anthropic-billing-header: cc_version=1;"

    assert without_attribution(text) == text


def test_a_tool_call_and_its_result_keep_their_id_and_the_tools_name() -> None:
    found = turns(
        {"role": "user", "content": "weather in Oslo?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "ask the tool", "signature": "x"},
                {"type": "text", "text": "One moment."},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "4 degrees"},
                {"type": "text", "text": "in Fahrenheit, please"},
            ],
        },
    )

    assert found[1] == ChatMessage(
        role="assistant",
        content="One moment.",
        reasoning="ask the tool",
        tool_calls=(ToolCall(name="weather", arguments='{"city": "Oslo"}', id="t1"),),
    )
    assert found[2] == ChatMessage(
        role="tool", content="4 degrees", name="weather", tool_call_id="t1"
    )
    assert found[3] == ChatMessage(role="user", content="in Fahrenheit, please")


def test_a_failed_tool_says_so_to_the_model() -> None:
    result = {
        "type": "tool_result",
        "tool_use_id": "t",
        "is_error": True,
        "content": "no such file",
    }

    found = turns({"role": "user", "content": [result]})

    assert found[0].content == "Error: no such file"


def test_images_stand_in_tools_results_and_between_the_words_of_users() -> None:
    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"},
    }
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image], "is_error": True}
    words = {"type": "text", "text": "look:"}

    (brought, asked) = turns({"role": "user", "content": [result, words, image]})

    assert (brought.role, brought.content) == ("tool", "Error: ")
    assert [(one.at, one.file.place) for one in brought.media] == [
        (7, "messages.0.content.0.content.0.source.data")
    ]
    assert asked.content == "look:\n\n"
    assert [(one.at, one.file.place) for one in asked.media] == [
        (7, "messages.0.content.2.source.data")
    ]


def test_a_turn_with_an_image_stays_apart_from_the_question_behind_it() -> None:
    image = {"type": "image", "source": {"type": "base64", "data": "aaaa"}}

    found = turns({"role": "user", "content": [image]}, {"role": "user", "content": "and now?"})

    assert [(one.content, len(one.media)) for one in found] == [("", 1), ("and now?", 0)]


def test_a_system_turn_in_the_middle_becomes_the_users_words_beside_it() -> None:
    found = turns(
        {"role": "user", "content": "hello"},
        {"role": "system", "content": "the date has changed"},
        {"role": "user", "content": "what day is it?"},
    )

    assert [turn.role for turn in found] == ["user"]
    assert "<system-reminder>\nthe date has changed\n</system-reminder>" in found[0].content


def test_a_last_turn_of_the_assistant_is_gone_on_with() -> None:
    request = asked(messages=[*HELLO, {"role": "assistant", "content": "Good"}])

    assert request.chat.continue_final
    assert not asked().chat.continue_final


def test_tools_of_types_nobody_here_knows_are_skipped() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}

    request = asked(tools=[search, WEATHER], tool_choice={"type": "any"})

    assert [tool.name for tool in request.chat.tools] == ["weather"]
    assert request.chat.tool_choice == "required"


@pytest.mark.parametrize(
    ("choice", "wanted", "named"),
    [
        ({"type": "auto"}, "auto", None),
        ({"type": "none"}, "none", None),
        ({"type": "any"}, "required", None),
        ({"type": "tool", "name": "weather"}, "auto", "weather"),
    ],
)
def test_every_tool_choice_is_honoured(choice: Any, wanted: str, named: str | None) -> None:
    options = asked(tools=[WEATHER], tool_choice=choice).chat

    assert (options.tool_choice, options.tool_name) == (wanted, named)


def test_a_tool_choice_that_names_no_tool_names_the_field_and_the_tools() -> None:
    with pytest.raises(BadRequest, match="weather") as refusal:
        asked(tools=[WEATHER], tool_choice={"type": "tool", "name": "wether"})

    assert refusal.value.field == "tool_choice.name"


def test_more_tokens_than_a_local_model_has_are_a_ceiling() -> None:
    sampling = asked(max_tokens=32_000).sampling

    assert sampling.max_tokens == 32_000
    assert sampling.fit


def test_sampling_and_stops_arrive_under_umads_names() -> None:
    sampling = asked(temperature=0.25, top_k=3, top_p=0.5, stop_sequences=["END"]).sampling

    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.25, 3, 0.5)
    assert sampling.stop == ("END",)
    assert asked().sampling.temperature == 1.0


@pytest.mark.parametrize("beta", [False, True])
def test_a_schema_constrains_the_answer_in_both_spellings(beta: bool) -> None:
    format_ = {"type": "json_schema", "schema": {"type": "object"}}
    given_ = {"output_format": format_} if beta else {"output_config": {"format": format_}}

    constraint = asked(**given_).constraint

    assert constraint is not None
    assert constraint.text == '{"type":"object"}'


def test_thinking_is_asked_of_the_template_only_when_it_was_asked_for() -> None:
    enabled = asked(thinking={"type": "enabled", "budget_tokens": 1024})

    assert enabled.chat.template_kwargs == {"enable_thinking": True}
    assert asked().chat.template_kwargs == {"enable_thinking": False}


def test_fields_of_betas_to_come_are_accepted() -> None:
    body = asked(
        context_management={"edits": []},
        metadata={"user_id": "u"},
        service_tier="auto",
        system=[{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}],
    )

    assert body.messages is not None


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        ({"temperature": -1}, "temperature"),
        ({"tools": [{"name": "x"}]}, "input_schema"),
    ],
)
def test_wrong_values_are_refused_by_their_field(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        asked(**wrong)


def test_a_conversation_without_turns_is_refused() -> None:
    with pytest.raises(BadRequest) as refusal:
        asked(messages=[])

    assert refusal.value.field == "messages"
