"""What editors ask of an Ollama before their first chat, replayed request by request.

VS Code's Copilot: github.com/microsoft/vscode-copilot-chat,
src/extension/byok/vscode-node/ollamaProvider.ts. Codex: github.com/openai/codex,
codex-rs/ollama/src/lib.rs and client.rs. Each test does what the source does with the answers.
"""

import json
from typing import Any

import httpx
import pytest

from tests.gateway.gateways import LiveGateway
from umad.version import __version__


def at_least(version: str, minimum: str) -> bool:
    """As both compare: numbers between dots."""
    return [int(one) for one in version.split(".")] >= [int(one) for one in minimum.split(".")]


def test_copilot_finds_the_model_and_chats_with_it(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        version = http.get("/api/version").json()["version"]
        assert at_least(version, "0.6.4")  # MINIMUM_OLLAMA_VERSION

        names = [one["model"] for one in http.get("/api/tags").json()["models"]]
        assert names == ["nano:latest"]

        shown = http.post("/api/show", json={"model": names[0]}).json()
        info = shown["model_info"]
        window = info[f"{info['general.architecture']}.context_length"]
        assert (window, info["general.basename"]) == (4096, "nano")
        assert isinstance(shown["capabilities"], list)

        # Then it is OpenAI's API, by the name of /api/tags.
        chunks = http.post(
            "/v1/chat/completions",
            json={
                "model": names[0],
                "messages": [
                    {"role": "system", "content": "You help."},
                    {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                ],
                "stream": True,
                "stream_options": {"include_usage": True},
                "max_tokens": 4,
                "temperature": 0.1,
                "top_p": 1,
                "n": 1,
            },
        )
    assert chunks.status_code == 200
    assert chunks.text.rstrip().endswith("data: [DONE]")


def test_codex_finds_a_new_enough_server_and_the_model_by_either_list(
    gateway: LiveGateway,
) -> None:
    with gateway.http() as http:
        version = http.get("/api/version").json()["version"]
        assert at_least(version.removeprefix("v"), "0.13.4")  # min_responses_version

        assert http.get("/v1/models").is_success  # probe_server of a base address with /v1
        assert http.get("/api/tags").is_success  # and of one without
        of_openai = [one["id"] for one in http.get("/v1/models").json()["data"]]
        of_ollama = [one["name"] for one in http.get("/api/tags").json()["models"]]
        assert "nano" in of_openai
        assert "nano:latest" in of_ollama

        # `-m nano` is not in Ollama's list by exactly that name, so it is pulled first.
        with http.stream("POST", "/api/pull", json={"model": "nano", "stream": True}) as pull:
            statuses = [json.loads(line)["status"] for line in pull.iter_lines() if line]
        assert statuses[-1] == "success"

        body = {
            "model": "nano:latest",
            "instructions": "You help.",
            "input": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "Hi"}],
                }
            ],
            "store": False,
            "stream": True,
            "max_output_tokens": 4,
        }
        events = http.post("/v1/responses", json=body)
    assert events.status_code == 200
    assert "event: response." in events.text


def test_umads_own_version_stands_beside_ollamas(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        told: httpx.Response = http.get("/api/version")
    assert told.json()["umad"] == __version__


@pytest.mark.parametrize("more", [{}, {"input": ""}, {"input": []}, {"input": None}])
def test_vectors_of_nothing_load_the_model(gateway: LiveGateway, more: dict[str, Any]) -> None:
    with gateway.http() as http:
        told = http.post("/api/embed", json={"model": "nano", **more})
        unknown = http.post("/api/embed", json={"model": "gpt-oss:20b", **more})
    assert (told.status_code, told.json()) == (200, {"model": "nano", "embeddings": []})
    assert unknown.status_code == 404


@pytest.mark.parametrize("more", [{}, {"prompt": ""}, {"prompt": None}])
def test_the_older_vector_of_nothing_loads_it_too(
    gateway: LiveGateway, more: dict[str, Any]
) -> None:
    with gateway.http() as http:
        told = http.post("/api/embeddings", json={"model": "nano", **more})
    assert (told.status_code, told.json()) == (200, {"embedding": []})
