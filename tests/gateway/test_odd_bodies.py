"""Bodies that are nearly right, on a real gateway: the error says what the client wrote."""

import gzip
import json
from typing import Any

import openai
import pytest

from tests.gateway.gateways import LiveGateway
from tests.gateway.scripted_service import TOOL

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
COMPLETIONS = "/v1/completions"
HELLO = [{"role": "user", "content": "hello"}]
TOOLS = [{"type": "function", "function": TOOL}]
# Too complex, which shows late: while it is compiled or with the first tokens.
# Each letter of an answer makes the automaton larger. It compiles, and after some letters it has
# more states than a grammar may have. That is counted, so a quick machine finds the same.
MANY_STATES = "|".join(f"[a-z ]*[{chr(97 + n)}-z][a-z ]{{{9000 + 27 * n}}}" for n in range(26))
LATE_FAULT = {"type": "string", "pattern": f"^({MANY_STATES})$"}


def fault(gateway: LiveGateway, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The error of a body that is refused with a 400."""
    with gateway.http() as http:
        answer = http.post(path, json={"model": "nano", **body})
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


@pytest.mark.parametrize("row", [{"function": "x"}, {"name": {"a": 1}}])
def test_allowed_tools_that_name_nothing_allow_nothing(gateway: LiveGateway, row: Any) -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [row]}

    error = fault(gateway, CHAT, {"messages": HELLO, "tools": TOOLS, "tool_choice": choice})

    assert error["param"] == "tool_choice"


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/api/chat", "/v1/models"])
def test_a_method_that_is_not_for_a_path_is_answered_with_those_that_are(
    gateway: LiveGateway, path: str
) -> None:
    with gateway.http() as http:
        answer = http.put(path)

    assert answer.status_code == 405
    wanted = {"GET", "HEAD"} if path == "/v1/models" else {"POST"}
    assert set(answer.headers["allow"].split(", ")) == wanted


def test_a_compressed_body_is_said_to_be_one(gateway: LiveGateway) -> None:
    body = gzip.compress(json.dumps({"model": "nano", "messages": HELLO}).encode())

    with gateway.http() as http:
        answer = http.post(CHAT, content=body, headers={"content-encoding": "gzip"})

    assert answer.status_code == 415
    assert "'gzip'" in answer.json()["error"]["message"]


def test_a_schema_that_nothing_fits_is_refused(gateway: LiveGateway) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "none", "schema": False}}

    error = fault(gateway, CHAT, {"messages": HELLO, "response_format": form})

    assert error["param"] == "response_format.json_schema.schema"


def test_a_schema_that_is_missing_is_looked_for_where_responses_have_it(
    gateway: LiveGateway,
) -> None:
    form = {"format": {"type": "json_schema", "name": "none"}}

    error = fault(gateway, RESPONSES, {"input": "hello", "text": form})

    assert error["param"] == "text.format.schema"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (RESPONSES, {"input": "a", "max_output_tokens": -5}, "max_output_tokens"),
        (CHAT, {"messages": HELLO, "logprobs": True, "top_logprobs": 99}, "top_logprobs"),
        (COMPLETIONS, {"prompt": [10**30]}, "prompt"),
        (COMPLETIONS, {"prompt": [999999], "max_tokens": 0}, "prompt"),
        ("/infill", {"input_prefix": "a", "input_suffix": "b", "n_predict": -7}, "n_predict"),
        ("/detokenize", {"tokens": [10**30]}, "tokens.0"),
        ("/detokenize", {"tokens": [999999]}, "tokens"),
        ("/embedding", {"content": 5}, "content"),
        ("/v1/embeddings", {"input": [10**30]}, "input"),
    ],
)
def test_an_error_calls_a_field_as_the_body_does(
    gateway: LiveGateway, path: str, body: dict[str, Any], param: str
) -> None:
    error = fault(gateway, path, body)

    assert error["param"] == param
    if "must be between" in error["message"]:
        assert error["message"].startswith(f"{param} ")


def test_what_is_found_wrong_late_is_named_as_the_body_does(gateway: LiveGateway) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "long", "schema": LATE_FAULT}}

    error = fault(gateway, CHAT, {"messages": HELLO, "response_format": form})

    place = "response_format.json_schema.schema"
    assert error["param"] == place
    assert error["message"].startswith(f"{place} ")


UNENFORCED = {"type": "object", "properties": {"a": {}, "d": {"anyOf": [{}, {"not": {}}]}}}
GOOD_TOOL = {"name": "good", "parameters": {"type": "object"}}
BAD_TOOL = {"name": "bad", "strict": True, "parameters": UNENFORCED}
CLAUDE_TOOLS = [
    {"name": "good", "input_schema": {"type": "object"}},
    {"type": "web_search_20250305", "name": "web_search"},
    {"name": "bad", "strict": True, "input_schema": UNENFORCED},
]


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        (
            CHAT,
            {
                "messages": HELLO,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": UNENFORCED},
                },
            },
            "response_format.json_schema.schema",
        ),
        (
            CHAT,
            {"messages": HELLO, "response_format": {"type": "json_object", "schema": UNENFORCED}},
            "response_format.schema",
        ),
        (CHAT, {"messages": HELLO, "guided_json": UNENFORCED}, "guided_json"),
        (COMPLETIONS, {"prompt": "a", "json_schema": UNENFORCED}, "json_schema"),
        (
            COMPLETIONS,
            {"prompt": "a", "structured_outputs": {"json": UNENFORCED}},
            "structured_outputs.json",
        ),
        (
            RESPONSES,
            {
                "input": "a",
                "text": {"format": {"type": "json_schema", "name": "x", "schema": UNENFORCED}},
            },
            "text.format.schema",
        ),
        (
            CHAT,
            {
                "messages": HELLO,
                "tools": [
                    {"type": "custom", "name": "other"},
                    {"type": "function", "function": GOOD_TOOL},
                    {"type": "function", "function": BAD_TOOL},
                ],
                "tool_choice": "required",
            },
            "tools.2.function.parameters",
        ),
        (
            RESPONSES,
            {
                "input": "a",
                "tools": [{"type": "web_search"}, {"type": "function", **BAD_TOOL}],
                "tool_choice": "required",
            },
            "tools.1.parameters",
        ),
    ],
)
def test_what_cannot_be_enforced_is_named_by_its_path_in_the_body(
    gateway: LiveGateway, path: str, body: dict[str, Any], place: str
) -> None:
    error = fault(gateway, path, body)

    assert error["param"] == f"{place}.properties.d.anyOf.1"
    assert error["message"].startswith(f"{place}.properties.d.anyOf.1 cannot be compiled: ")


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        (
            "/v1/messages",
            {"output_config": {"format": {"type": "json_schema", "schema": UNENFORCED}}},
            "output_config.format.schema",
        ),
        (
            "/v1/messages",
            {"tools": CLAUDE_TOOLS, "tool_choice": {"type": "any"}},
            "tools.2.input_schema",
        ),
        ("/api/chat", {"format": UNENFORCED, "stream": False}, "format"),
    ],
)
def test_other_dialects_name_it_in_their_words(
    gateway: LiveGateway, path: str, body: dict[str, Any], place: str
) -> None:
    whole = {"model": "nano", "messages": HELLO, "max_tokens": 4, **body}

    with gateway.http() as http:
        answer = http.post(path, json=whole)

    assert answer.status_code == 400
    assert f"{place}.properties.d.anyOf.1 cannot be compiled" in answer.text


WEATHER_ALONE = {"type": "function", "function": {"name": "get_weather"}}


@pytest.mark.parametrize("choice", ["required", WEATHER_ALONE])
def test_one_tool_that_cannot_be_enforced_does_not_break_the_others(
    gateway: LiveGateway, choice: Any
) -> None:
    loose = {"type": "function", "function": {**BAD_TOOL, "strict": None}}
    body = {"model": "nano", "messages": HELLO, "tools": [loose, *TOOLS], "tool_choice": choice}

    with gateway.http() as http:
        answer = http.post(CHAT, json={**body, "max_tokens": 40})

    assert answer.status_code == 200, answer.text


def test_the_tokens_of_a_text_are_made_likely(gateway: LiveGateway) -> None:
    body = {"model": "nano", "prompt": "x = ", "max_tokens": 3, "logit_bias": {"7": 0, "!": 100}}

    with gateway.http() as http:
        answer = http.post(COMPLETIONS, json=body)

    assert answer.json()["choices"][0]["text"] == "!!!"


def test_a_part_without_its_text_is_not_said_to_be_an_image(gateway: LiveGateway) -> None:
    messages = [{"role": "user", "content": [{"type": "text"}]}]

    error = fault(gateway, CHAT, {"messages": messages})

    assert error["param"] == "messages.0.content.0.text"


def test_a_wrong_block_is_named_without_names_of_our_own(gateway: LiveGateway) -> None:
    block = {"type": "tool_result", "tool_use_id": "a", "is_error": "?"}
    messages = [{"role": "user", "content": [block]}]

    error = fault(gateway, "/v1/messages", {"max_tokens": 1, "messages": messages})

    assert error["message"].startswith("messages.0.content.0.is_error: ")


def test_agents_are_told_of_a_long_prompt_in_the_words_they_look_for(gateway: LiveGateway) -> None:
    messages = [{"role": "user", "content": "word " * 30_000}]

    error = fault(gateway, "/v1/messages", {"max_tokens": 1, "messages": messages})

    assert error["message"].startswith("prompt is too long: ")


# -- no tokens asked for ---------------------------------------------------------------------------


def test_no_tokens_are_streamed_to_who_asks_for_a_stream(gateway: LiveGateway) -> None:
    with openai.OpenAI(base_url=f"{gateway.address}/v1", api_key="none", max_retries=0) as client:
        chunks = list(
            client.completions.create(
                model="gpt-4o",
                prompt=["one", "two"],
                max_tokens=0,
                n=2,
                echo=True,
                stream=True,
                stream_options={"include_usage": True},
            )
        )

    said = [(one.index, one.text) for chunk in chunks for one in chunk.choices]
    assert said == [(0, "one"), (1, "one"), (2, "two"), (3, "two")]
    assert {chunk.model for chunk in chunks} == {"nano"}
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 0


def test_the_rest_of_a_body_is_checked_where_no_tokens_are_asked_for(gateway: LiveGateway) -> None:
    error = fault(gateway, COMPLETIONS, {"prompt": "a", "max_tokens": 0, "n": 10**30})

    assert error["param"] == "n"
