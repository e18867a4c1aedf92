"""Odd histories on a real engine whose template demands turns, asked in every dialect."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.gateways import LiveGateway, live_gateway
from umad import nano

BEGINNING, END = b"{% for message in messages %}", b"assistant\\n' }}{% endif %}"
STRICT = (
    b"{% for m in messages %}{% if (m.role!='user')!=(loop.index%2==0) %}"
    b"{{raise_exception('take turns')}}{% endif %}<|im_start|>{{m.role}}\n"
    b"{{m.content}}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
PICTURE: Any = {"type": "image_url", "image_url": {"url": "data:,"}}
SYSTEM: Any = {"role": "system", "content": "Be brief."}
USER: Any = {"role": "user", "content": "Hello"}
ASSISTANT: Any = {"role": "assistant", "content": "Hi."}
CALL: Any = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": "b'}}
CALLS: Any = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT: Any = {"role": "tool", "tool_call_id": "c1", "content": [PICTURE]}
TOOL: Any = {
    "name": "look",
    "parameters": {
        "type": "object",
        "properties": {"on": {"type": "boolean"}},
        "required": ["on"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """nano with another template of the same length, so that its file stays a GGUF."""
    folder = tmp_path_factory.mktemp("strict")
    data = nano.path().read_bytes()
    begin = data.index(BEGINNING)
    end = data.index(END, begin) + len(END)
    assert len(STRICT) <= end - begin
    path = folder / "strict.gguf"
    path.write_bytes(data[:begin] + STRICT.ljust(end - begin) + data[end:])
    with live_gateway(folder, str(path)) as one:
        yield one


HISTORIES: dict[str, list[Any]] = {
    "a system prompt": [SYSTEM, USER],
    "a system turn late in the chat": [USER, ASSISTANT, SYSTEM, USER],
    "two questions": [USER, USER],
    "two answers": [USER, ASSISTANT, ASSISTANT, USER],
    "an assistant first": [ASSISTANT, USER],
    "a call that was cut off, a picture for a result, and a question": [USER, CALLS, RESULT, USER],
}
ANTHROPIC: list[Any] = [
    USER,
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look"}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]},
    USER,
    {"role": "system", "content": "Be brief."},
]
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        f"chat: {name}": ("/v1/chat/completions", {"messages": turns, "max_tokens": 4})
        for name, turns in HISTORIES.items()
    },
    "responses": (
        "/v1/responses",
        {
            "instructions": "Be brief.",
            "input": [
                USER,
                {"type": "function_call", "call_id": "c", "name": "look", "arguments": '{"a'},
                USER,
            ],
            "max_output_tokens": 4,
        },
    ),
    "messages": ("/v1/messages", {"messages": ANTHROPIC, "system": "Be kind.", "max_tokens": 4}),
    "ollama": (
        "/api/chat",
        {"messages": [SYSTEM, USER, USER], "stream": False, "options": {"num_predict": 4}},
    ),
    "native": ("/generate", {"messages": [SYSTEM, USER, USER], "max_tokens": 4, "stream": False}),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_history_that_the_template_refuses_is_answered(strict: LiveGateway, name: str) -> None:
    path, body = BODIES[name]

    with strict.http() as http:
        answer = http.post(path, json={"model": "strict", **body})

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("only_one", [False, True])
def test_forced_calls_end_with_the_first_where_only_one_is_wanted(
    strict: LiveGateway, only_one: bool
) -> None:
    body = {
        "model": "strict",
        "messages": [USER],
        "tools": [{"type": "function", "function": TOOL}],
        "tool_choice": "required",
        "parallel_tool_calls": not only_one,
        "max_tokens": 1000,
        "seed": 1,
    }

    with strict.http() as http:
        answer = http.post("/v1/chat/completions", json=body).json()

    (choice,) = answer["choices"]
    calls = choice["message"]["tool_calls"]
    assert all("on" in json.loads(one["function"]["arguments"]) for one in calls)
    assert choice["finish_reason"] == "tool_calls"
    assert (len(calls) == 1) or not only_one
