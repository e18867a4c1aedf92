"""umad's own endpoints over a real port."""

import json

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.gateway.gateways import LiveGateway

# Each of its tokens is the best by 0.4 nats and more: no tie is decided by the last bits of a sum.
BODY = {"prompt": "One,", "max_tokens": 4, "temperature": 0}


def test_generate_streams_the_sockets_events_under_their_names(gateway: LiveGateway) -> None:
    with gateway.http() as http, http.stream("POST", "/generate", json=BODY) as answer:
        lines = list(answer.iter_lines())

    assert answer.headers["content-type"].startswith("text/event-stream")
    names = [one.removeprefix("event: ") for one in lines if one.startswith("event: ")]
    assert names[0] == "accepted"
    assert names[-1] == "done"
    rows = [json.loads(one[6:]) for one in lines if one.startswith("data: {")]
    assert rows[-1]["usage"]["completion_tokens"] == 4
    assert sum(len(one.get("ids", ())) for one in rows) == 4


def test_generate_answers_whole_where_no_stream_is_wanted(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        answer = http.post("/generate", json={**BODY, "stream": False, "n": 2}).json()

    assert [one["index"] for one in answer["completions"]] == [0, 1]
    assert answer["completions"][0]["text"] == answer["completions"][1]["text"]
    assert answer["model"] == "nano"


def test_a_misspelt_field_is_told_the_nearest(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        answer = http.post("/generate", json={**BODY, "temperatur": 1})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "temperatur"
    assert "did you mean temperature?" in answer.json()["error"]["message"]


def test_metrics_are_the_scorecard_or_prometheus_text_as_asked(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        http.post("/generate", json={**BODY, "stream": False})
        card = http.get("/metrics").json()
        text = http.get("/metrics", headers={"accept": "text/plain"})

    assert card["latency_cap"] == 1.2
    assert text.headers["content-type"].startswith("text/plain")
    found = {one.name: one for one in text_string_to_metric_families(text.text)}
    assert found["umad_latency_cap"].samples[0].value == 1.2
    assert found["umad_http_tokens"].samples
    assert any(
        sample.labels.get("path") == "/generate" for sample in found["umad_http_requests"].samples
    )
    assert any("lane" in sample.labels for one in found.values() for sample in one.samples)
    causes = {sample.labels["cause"] for sample in found["umad_slowed_by"].samples}
    assert {"background", "prompt", "restart", "nothing"} <= causes


def test_status_lists_models_and_health_needs_no_key(gateway: LiveGateway) -> None:
    gateway.until_idle()  # others that use it, too, may have left just now
    with gateway.http() as http:
        status = http.get("/status").json()
        health = http.get("/health")
        diag = http.get("/diag").json()

    assert [one["name"] for one in status["models"]] == ["nano"]
    assert status["requests"] == []
    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    assert diag["daemon"] == "running"
    assert diag["models"][0]["state"] == "ready"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/load", {"model": "no-such"}, 404),
        ("/load", {}, 400),
        ("/unload", {"model": "no-such"}, 404),
        ("/priority", {"target": "no-such", "lane": "background"}, 404),
        ("/priority", {"target": "x", "lane": "no-such"}, 400),
        ("/cancel", {"request": "r999999"}, 404),
        ("/forget", {"session": "no-such"}, 404),
        ("/forget", {}, 400),
        ("/forget", {"session": "x", "all": True}, 400),
    ],
)
def test_what_is_not_there_is_said(
    gateway: LiveGateway, path: str, body: dict[str, object], status: int
) -> None:
    with gateway.http() as http:
        answer: httpx.Response = http.post(path, json=body)

    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


def test_a_session_is_forgotten_over_http(gateway: LiveGateway) -> None:
    body = {"prompt": "one two three four", "session": "http", "max_tokens": 3, "stream": False}
    with gateway.http() as http:
        http.post("/forget", json={"all": True}).raise_for_status()  # what other tests have kept
        http.post("/generate", json=body).raise_for_status()
        named = http.post("/forget", json={"session": "http"})
        again = http.post("/forget", json={"session": "http"})
        everything = http.post("/forget", json={"all": True})

    assert (named.status_code, named.json()) == (200, {"sessions": ["http"], "in_use": []})
    assert again.status_code == 404
    assert everything.json() == {"sessions": [], "in_use": []}
