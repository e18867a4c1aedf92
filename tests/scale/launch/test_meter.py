"""Tokens by key, from answers as vLLM sends them and from SGLang's own counters."""

import asyncio
import json
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from umad.errors import FetchFailed
from umad.scale.launch import usage
from umad.scale.launch.box.meter import Meter, usage_of
from umad.scale.launch.usage import KeyUsage

CHAT = (
    b'{"id":"c","choices":[{"message":{"content":"hi"}}],'
    b'"usage":{"prompt_tokens":7,"total_tokens":9,"completion_tokens":2}}'
)
STREAM = [
    b'data: {"choices":[{"delta":{"content":"\\"usage\\": {"}}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tok',
    b'ens":7,"total_tokens":10,"completion_tokens":3,"prompt_tokens_details":null}}\n\n',
    b"data: [DONE]\n\n",
]
# Anthropic's dialect: the first event's usage has the prompt, the last one's both.
MESSAGES = (
    b'event: message_start\ndata: {"message":{"usage":{"input_tokens":7,"output_tokens":0}}}\n\n'
    b'event: message_delta\ndata: {"usage":{"input_tokens":7,"output_tokens":4}}\n\n'
)


def asked(meter: Meter, path: str, key: str | None = None) -> bytes:
    """The body of an answer."""
    headers = [(b"x-umad-key", key.encode())] if key else []
    scope: MutableMapping[str, Any] = {"type": "http", "path": path, "headers": headers}
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(meter(scope, receive, send))
    return b"".join(one.get("body", b"") for one in sent)


def app(*parts: bytes) -> Any:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return answer


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMAD_USAGE_FOLDER", str(tmp_path / "usage"))


def test_each_key_has_the_tokens_of_its_own_answers() -> None:
    chat = Meter(app(CHAT))

    assert asked(chat, "/v1/chat/completions", "alice") == CHAT
    asked(chat, "/v1/chat/completions", "alice")
    asked(chat, "/v1/chat/completions", "bob")

    found = usage.of_meter(asked(chat, "/umad/usage").decode())
    assert found == {
        "alice": KeyUsage(prompt_tokens=14, completion_tokens=4),
        "bob": KeyUsage(prompt_tokens=7, completion_tokens=2),
    }


def test_a_stream_s_usage_is_its_last_whatever_its_text_says() -> None:
    meter = Meter(app(*STREAM))

    assert asked(meter, "/v1/chat/completions", "alice") == b"".join(STREAM)

    found = usage.of_meter(asked(meter, "/umad/usage").decode())
    assert found == {"alice": KeyUsage(prompt_tokens=7, completion_tokens=3)}


def test_anthropic_s_names_are_the_same_tokens() -> None:
    assert usage_of(MESSAGES) == {"prompt": 7, "completion": 4}


def test_server_processes_are_added_up() -> None:
    one = Meter(app(CHAT))
    asked(one, "/v1/completions", "alice")
    # Another process of the same server has written its own.
    other = {"alice": {"requests": 1, "prompt": 100, "completion": 10}}
    (one._folder / "1.json").write_text(json.dumps(other))

    found = usage.of_meter(asked(one, "/umad/usage").decode())

    assert found == {"alice": KeyUsage(prompt_tokens=107, completion_tokens=12)}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"usage": {', b'{"usage": {"prompt_tokens": "x"}}', b'"usage": {}', b"\xff" * 9],
)
def test_an_answer_without_usage_counts_nothing(body: bytes) -> None:
    meter = Meter(app(body))

    assert asked(meter, "/v1/completions", "alice") == body
    assert usage.of_meter(asked(meter, "/umad/usage").decode()) == {}


def test_sglang_s_counters_have_the_key_as_a_label() -> None:
    text = (
        "# TYPE sglang:prompt_tokens_total counter\n"
        'sglang:prompt_tokens_total{model_name="m",key="alice"} 14.0\n'
        'sglang:prompt_tokens_total{model_name="m"} 1.0\n'
        "# TYPE sglang:generation_tokens_total counter\n"
        'sglang:generation_tokens_total{model_name="m",key="alice"} 4.0\n'
    )

    found = usage.of_sglang(text)

    assert found["alice"] == KeyUsage(prompt_tokens=14, completion_tokens=4)
    assert found["alice"].total_tokens == 18
    assert found["none"].prompt_tokens == 1


@pytest.mark.parametrize("text", ["", "[]", '{"keys": 7}', '{"keys": {"a": {}}}'])
def test_an_answer_that_is_no_usage_is_said(text: str) -> None:
    with pytest.raises(FetchFailed):
        usage.of_meter(text)
