"""llama-server's other endpoints on a real gateway: /props, /slots, /apply-template, /models."""

import json
from typing import Any

import pytest

from tests.gateway.gateways import LiveGateway
from tests.security.two_keys import running

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


def got(gateway: LiveGateway, path: str) -> Any:
    with gateway.http() as http:
        answer = http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("path", ["/props", "/props?model=nano", "/props?model=gpt-4o"])
def test_the_properties_have_what_clients_read_from_them(gateway: LiveGateway, path: str) -> None:
    props = got(gateway, path)

    assert props["default_generation_settings"]["n_ctx"] > 0
    assert props["default_generation_settings"]["params"]["temperature"] == 0.8
    assert props["total_slots"] >= 1
    assert props["model_path"].endswith(".gguf")
    assert "message" in props["chat_template"]
    assert props["bos_token"]
    assert props["modalities"]["vision"] is False


def test_a_running_request_is_a_busy_slot(gateway: LiveGateway) -> None:
    with running(gateway, {}, max_tokens=2000):  # as many as this daemon allows, about
        busy = [one for one in got(gateway, "/slots") if one["is_processing"]]

    assert len(busy) == 1
    assert busy[0]["next_token"][0]["n_decoded"] >= 0
    assert "prompt" not in busy[0]


def test_every_stream_that_may_run_is_a_slot(gateway: LiveGateway) -> None:
    slots = got(gateway, "/slots?fail_on_no_slot=1")

    assert [one["id"] for one in slots] == list(range(got(gateway, "/props")["total_slots"]))


def test_the_prompt_of_a_chat_goes_on_as_the_chat_does(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        prompt = http.post("/apply-template", json={"messages": TURNS}).json()["prompt"]
        limits = {"temperature": 0, "max_tokens": 6}
        chat = http.post("/v1/chat/completions", json={"messages": TURNS, **limits}).json()
        text = http.post("/completion", json={"prompt": prompt, "return_tokens": True, **limits})

    assert "Be brief." in prompt
    assert chat["choices"][0]["message"]["content"] == text.json()["content"]
    assert text.json()["tokens_evaluated"] == chat["usage"]["prompt_tokens"]


COUNTED: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "a chat": ("/v1/chat/completions", {"messages": TURNS}, "max_tokens", {}),
    "a response's text": ("/v1/responses", {"input": "Hi there"}, "max_output_tokens", {}),
    "a response's items": ("/v1/responses", {"input": TURNS}, "max_output_tokens", {}),
    "a response with instructions": (
        "/v1/responses",
        {"input": "Hi", "instructions": "Be brief."},
        "max_output_tokens",
        {},
    ),
}


@pytest.mark.parametrize("meant", COUNTED)
@pytest.mark.parametrize("before", ["/v1", ""])
def test_tokens_are_counted_as_the_answer_counts_them(
    gateway: LiveGateway, meant: str, before: str
) -> None:
    path, body, limit, _ = COUNTED[meant]
    body = {"model": "nano", **body}
    with gateway.http() as http:
        counted = http.post(f"{before}{path.removeprefix('/v1')}/input_tokens", json=body)
        usage = http.post(path, json={**body, limit: 1}).json()["usage"]

    assert counted.json() == {
        "object": "response.input_tokens",
        "input_tokens": usage.get("input_tokens", usage.get("prompt_tokens")),
    }


def test_a_count_goes_on_from_a_kept_response(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        first = http.post("/v1/responses", json={"input": "Hi", "max_output_tokens": 3}).json()
        body = {"input": "And?", "previous_response_id": first["id"]}
        counted = http.post("/v1/responses/input_tokens", json=body).json()["input_tokens"]

    assert counted > first["usage"]["input_tokens"]


def test_the_list_of_models_tells_their_state(gateway: LiveGateway) -> None:
    (nano, *_) = got(gateway, "/models")["data"]

    assert (nano["id"], nano["status"]["value"]) == ("nano", "loaded")
    assert nano["architecture"]["input_modalities"] == ["text"]
    assert nano["meta"]["n_vocab"] > 0


def test_a_model_that_is_loaded_is_loaded_again_without_harm(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        answer = http.post("/models/load", json={"model": "nano", "extra": 1})

    assert answer.json() == {"success": True}


def test_the_news_begin_with_the_state_of_each_model(gateway: LiveGateway) -> None:
    with gateway.http() as http, http.stream("GET", "/models/sse") as answer:
        line = next(line for line in answer.iter_lines() if line.startswith("data: "))

    assert json.loads(line.removeprefix("data: ")) == {
        "model": "nano",
        "event": "model_status",
        "data": {"status": "loaded"},
    }


REFUSED: dict[str, tuple[str, str, Any, int]] = {
    "change properties": ("POST", "/props", {"temperature": 1}, 501),
    "save a slot": ("POST", "/slots/0?action=save", {"filename": "x"}, 501),
    "download nothing": ("POST", "/models", {"model": ""}, 400),
    "download a model that has no such name": ("POST", "/models", {"model": "no-such"}, 404),
    "delete the model that ships": ("DELETE", "/models?model=nano", None, 403),
    "delete a model that is not there": ("DELETE", "/models?model=no-such", None, 404),
    "delete nothing": ("DELETE", "/models", None, 400),
    "load a model that is not there": ("POST", "/models/load", {"model": "no-such"}, 404),
    "unload a model that is not there": ("POST", "/models/unload", {"model": "no-such"}, 404),
    "ask of a model that is not there": ("GET", "/props?model=no-such", None, 404),
    "set an adapter": ("POST", "/lora-adapters", [{"id": 0, "scale": 1}], 501),
    "render nothing": ("POST", "/apply-template", {"messages": []}, 400),
    "render without the answer's beginning": (
        "POST",
        "/apply-template",
        {"messages": TURNS, "add_generation_prompt": False},
        501,
    ),
}


@pytest.mark.parametrize("meant", REFUSED)
def test_what_is_not_served_is_said_in_llama_servers_shape(
    gateway: LiveGateway, meant: str
) -> None:
    method, path, body, status = REFUSED[meant]
    with gateway.http() as http:
        answer = http.request(method, path, json=body)

    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == status


def test_codex_reads_the_list_of_models(gateway: LiveGateway) -> None:
    """The fields that `ModelInfo` of codex-rs requires, with their types."""
    required: dict[str, tuple[type, ...]] = {
        "slug": (str,),
        "display_name": (str,),
        "description": (str, type(None)),
        "supported_reasoning_levels": (list,),
        "shell_type": (str,),
        "visibility": (str,),
        "supported_in_api": (bool,),
        "priority": (int,),
        "availability_nux": (type(None),),
        "upgrade": (type(None),),
        "base_instructions": (str,),
        "supports_reasoning_summaries": (bool,),
        "support_verbosity": (bool,),
        "default_verbosity": (type(None),),
        "apply_patch_tool_type": (type(None),),
        "truncation_policy": (dict,),
        "supports_parallel_tool_calls": (bool,),
        "context_window": (int,),
        "experimental_supported_tools": (list,),
        "input_modalities": (list,),
    }
    listed = got(gateway, "/v1/models?client_version=0.145.0")

    assert [one["slug"] for one in listed["models"]] == [one["id"] for one in listed["data"]]
    for entry in listed["models"]:
        assert {name: type(entry[name]) in kinds for name, kinds in required.items()} == (
            dict.fromkeys(required, True)
        )
        assert entry["shell_type"] == "shell_command"
        assert entry["truncation_policy"]["mode"] in ("bytes", "tokens")
        assert 0 < entry["truncation_policy"]["limit"] <= entry["context_window"]
