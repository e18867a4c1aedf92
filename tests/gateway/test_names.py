"""The name of a model, as clients write it, in every dialect: each spelling at each endpoint."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.gateways import LiveGateway
from umad import nano
from umad.client import Client

HELLO = [{"role": "user", "content": "Hi"}]
SPELLINGS = [
    pytest.param("nano", id="its name"),
    pytest.param("nano:latest", id="Ollama's tag"),
    pytest.param("nano:q8_0", id="a tag with its quantization"),
    pytest.param("NANO", id="other letters"),
    pytest.param("nano.gguf", id="its file"),
    pytest.param("library/Nano.GGUF:latest", id="all of it"),
    pytest.param("nan", id="its beginning"),
    pytest.param("gpt-4o", id="an alias"),
    pytest.param("GPT-4o:latest", id="an alias in other letters with a tag"),
    pytest.param("claude-opus-9:latest", id="an alias's pattern"),
]
# Each endpoint that takes a name: its body, and the name in its answer where that is the real one.
Named = Callable[[dict[str, Any]], Any]
ENDPOINTS: list[tuple[str, dict[str, Any], Named | None]] = [
    ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 2}, lambda one: one["model"]),
    ("/v1/completions", {"prompt": "Hi", "max_tokens": 2}, lambda one: one["model"]),
    ("/v1/completions", {"prompt": "Hi", "max_tokens": 0}, lambda one: one["model"]),
    ("/v1/responses", {"input": "Hi", "max_output_tokens": 2}, lambda one: one["model"]),
    ("/v1/embeddings", {"input": "Hi"}, lambda one: one["model"]),
    ("/generate", {"prompt": "Hi", "max_tokens": 2, "stream": False}, lambda one: one["model"]),
    ("/load", {}, lambda one: one["name"]),
    ("/v1/messages", {"messages": HELLO, "max_tokens": 2}, None),
    ("/v1/messages/count_tokens", {"messages": HELLO}, None),
    ("/api/chat", {"messages": HELLO, "stream": False, "options": {"num_predict": 2}}, None),
    ("/api/chat", {"stream": False}, None),
    ("/api/generate", {"prompt": "Hi", "stream": False, "options": {"num_predict": 2}}, None),
    ("/api/generate", {"stream": False}, None),
    ("/api/embed", {"input": "Hi"}, None),
    ("/api/embeddings", {"prompt": "Hi"}, None),
    ("/api/show", {}, lambda one: one["model_info"]["general.basename"]),
    ("/api/pull", {"stream": False}, lambda one: "nano" if one["status"] == "success" else None),
    ("/tokenize", {"content": "Hi"}, None),
    ("/detokenize", {"tokens": [5, 6]}, None),
    ("/embedding", {"content": "Hi"}, None),
    ("/infill", {"input_prefix": "a", "input_suffix": "b", "n_predict": 2}, None),
]


@pytest.fixture(scope="module")
def http(gateway: LiveGateway) -> Any:
    with gateway.http() as one:
        yield one


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_endpoint_takes_a_name_as_clients_write_it(http: httpx.Client, spelling: str) -> None:
    for path, body, name_of in ENDPOINTS:
        if path == "/api/pull" and spelling == "nan":
            continue  # another model of that name may be meant, which would be fetched
        answer = http.post(path, json={**body, "model": spelling})
        if path == "/infill" and answer.status_code == 501:
            assert "nano" in answer.text, (path, answer.text)  # found, and it has no marks
            continue
        assert answer.status_code == 200, (path, answer.text)
        if name_of is not None:
            assert name_of(answer.json()) == "nano", (path, answer.text)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_ollamas_answers_repeat_the_name_that_was_asked(http: httpx.Client, spelling: str) -> None:
    answer = http.post("/api/chat", json={"model": spelling, "stream": False}).json()

    assert answer["model"] == spelling


@pytest.mark.parametrize(
    ("asked", "id_"),
    [
        pytest.param("nano", "nano", id="its name"),
        pytest.param("nano:latest", "nano", id="Ollama's tag"),
        pytest.param("Nano.gguf", "nano", id="its file"),
        pytest.param("n", "nano", id="its beginning"),
        pytest.param("gpt-4o", "gpt-4o", id="an alias, which is in the list"),
    ],
)
def test_one_model_is_told_under_its_real_name(http: httpx.Client, asked: str, id_: str) -> None:
    assert http.get(f"/v1/models/{asked}").json()["id"] == id_


WRONG = [
    pytest.param("mistral", id="another model"),
    pytest.param("nano:70b", id="another size"),
    pytest.param("nano:f16", id="another quantization"),
    pytest.param("/elsewhere/nano.gguf", id="a file in another place"),
]


@pytest.mark.parametrize("asked", WRONG)
def test_a_name_of_no_model_is_a_404_with_the_names_there_are_in_every_dialect(
    http: httpx.Client, asked: str
) -> None:
    for path, body, _ in ENDPOINTS:
        if path in ("/load", "/api/pull") or (path.startswith("/api/") and len(body) == 1):
            continue  # they look for a file, or at one
        answer = http.post(path, json={**body, "model": asked})
        assert answer.status_code == 404, (path, answer.text)
        assert "loaded are nano" in answer.text, (path, answer.text)
    assert http.get(f"/v1/models/{asked}").status_code == 404


def test_the_socket_takes_the_same_names(gateway: LiveGateway) -> None:
    with Client(gateway.daemon.socket) as client:
        for asked in ("nano:latest", "NANO", "nan", str(nano.path())):
            assert client.complete("Hi", model=asked, max_tokens=2, temperature=0)
            assert client.load(asked)["name"] == "nano"


def test_dates_are_the_files_own(gateway: LiveGateway, http: httpx.Client) -> None:
    written = int(Path(nano.path()).stat().st_mtime)
    at = datetime.fromtimestamp(written, UTC)

    (listed, *_) = http.get("/v1/models").json()["data"]
    (tag,) = http.get("/api/tags").json()["models"]
    shown = http.post("/api/show", json={"model": "nano"}).json()

    assert listed["created"] == written
    for date in (listed["created_at"], tag["modified_at"], shown["modified_at"]):
        assert datetime.fromisoformat(date) == at


def test_one_streams_context_is_what_the_model_was_trained_on_wherever_it_is_told(
    gateway: LiveGateway, http: httpx.Client
) -> None:
    (listed, *_) = http.get("/v1/models").json()["data"]
    (running,) = http.get("/api/ps").json()["models"]
    shown = http.post("/api/show", json={"model": "nano"}).json()["model_info"]
    status = http.get("/status").json()["models"][0]
    too_long = http.post("/v1/completions", json={"prompt": "word " * 5000}).json()["error"]

    assert status["n_cells"] == 4 * 4096
    assert listed["max_model_len"] == listed["context_length"] == listed["max_input_tokens"] == 4096
    assert running["context_length"] == shown["llama.context_length"] == status["ctx"] == 4096
    assert "at most 4096 are taken" in too_long["message"]
    assert "--ctx-per-stream" in too_long["message"]
