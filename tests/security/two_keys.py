"""A gateway with keys of different people on nano, and what to send to every route. Not a test."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.gateway.gateways import LONG_ANSWERS, LONG_TOKENS, LiveGateway, live_gateway

KEYS = """
keys:
  - {name: root, key: sk-admin-0001, role: admin}
  - {name: alice, key: sk-alice-0001, app: zed}
  - {name: bob, key: sk-bob-000001, app: zed, lane: background}
"""
ADMIN = {"authorization": "Bearer sk-admin-0001"}
ALICE = {"authorization": "Bearer sk-alice-0001"}
BOB = {"authorization": "Bearer sk-bob-000001"}
LONG = {
    "prompt": "once upon a time",
    "max_tokens": LONG_TOKENS,
    "ignore_eos": True,
    "stream": True,
}
TURN = [{"role": "user", "content": "Hi"}]

# What makes each route do its work; without one: no body.
BODIES: dict[str, Any] = {
    "POST /v1/chat/completions": {"model": "nano", "messages": TURN, "max_tokens": 2},
    "POST /v1/completions": {"model": "nano", "prompt": "one", "max_tokens": 2},
    "POST /v1/responses": {"model": "nano", "input": "Hi", "max_output_tokens": 2},
    "POST /v1/embeddings": {"model": "nano", "input": "one"},
    "POST /v1/rerank": {"model": "nano", "query": "a", "documents": ["b"]},
    "POST /rerank": {"model": "nano", "query": "a", "documents": ["b"]},
    "POST /v1/reranking": {"model": "nano", "query": "a", "documents": ["b"]},
    "POST /reranking": {"model": "nano", "query": "a", "documents": ["b"]},
    "POST /v1/chat/completions/input_tokens": {"model": "nano", "messages": TURN},
    "POST /chat/completions/input_tokens": {"model": "nano", "messages": TURN},
    "POST /v1/responses/input_tokens": {"model": "nano", "input": "Hi"},
    "POST /responses/input_tokens": {"model": "nano", "input": "Hi"},
    "POST /completion": {"prompt": "one", "n_predict": 2},
    "POST /completions": {"prompt": "one", "n_predict": 2},
    "POST /apply-template": {"messages": TURN},
    "POST /models/load": {"model": "nano"},
    "POST /models": {"model": "no-such-model"},
    "DELETE /models": {},
    "POST /models/unload": {"model": "no-such-model"},
    "POST /generate": {"prompt": "one", "max_tokens": 2, "stream": False},
    "POST /load": {"model": "nano"},
    "POST /unload": {"model": "no-such-model"},
    "POST /estimate": {"model": "no-such-model"},
    "POST /pull": {"model": "no-such-model"},
    "POST /jobs": {"kind": "load", "model": "no-such-model"},
    "POST /priority": {"target": "r999999", "lane": "background"},
    "POST /cancel": {"request": "r999999"},
    "POST /forget": {"session": "never-there"},
    "POST /v1/messages": {"model": "nano", "messages": TURN, "max_tokens": 2},
    "POST /v1/messages/count_tokens": {"model": "nano", "messages": TURN},
    "POST /api/chat": {"model": "nano", "messages": TURN, "options": {"num_predict": 2}},
    "POST /api/generate": {"model": "nano", "prompt": "one", "options": {"num_predict": 2}},
    "POST /api/embed": {"model": "nano", "input": "one"},
    "POST /api/embeddings": {"model": "nano", "prompt": "one"},
    "POST /api/show": {"model": "nano"},
    "POST /api/pull": {"model": "nano"},
    "POST /api/push": {"model": "nano"},
    "POST /api/create": {"model": "other", "from": "no-such-model"},
    "POST /api/copy": {"source": "no-such-model", "destination": "other"},
    "DELETE /api/delete": {"model": "no-such-model"},
    "POST /embedding": {"content": "one"},
    "POST /embeddings": {"content": "one"},
    "POST /infill": {"input_prefix": "one", "input_suffix": "three", "n_predict": 2},
    "POST /tokenize": {"content": "one"},
    "POST /detokenize": {"tokens": [40, 41]},
}


def asked(http: httpx.Client, route: str, headers: dict[str, str]) -> httpx.Response:
    """The answer to a route, by its method and path."""
    method, _, path = route.partition(" ")
    concrete = path.replace("{id}", "resp_none").replace("{model:path}", "nano")
    with http.stream(method, concrete, json=BODIES.get(route), headers=headers) as answer:
        if path != "/models/sse":  # which has no end
            answer.read()
    return answer


@contextmanager
def keyed_gateway(folder: Path, *arguments: str, keys: str = KEYS) -> Iterator[LiveGateway]:
    """`umad serve` with a file of keys."""
    file = folder / "keys.yaml"
    file.write_text(keys)
    file.chmod(0o600)
    with live_gateway(folder, "--api-key-file", str(file), *LONG_ANSWERS, *arguments) as one:
        yield one


@contextmanager
def running(gateway: LiveGateway, headers: dict[str, str], **body: Any) -> Iterator[dict[str, Any]]:
    """A long answer that runs for a key; its row of /status as that key sees it. No other request
    runs at the beginning, and none at the end."""
    gateway.until_idle()
    with (
        gateway.http(headers=headers) as http,
        http.stream("POST", "/generate", json={**LONG, **body}) as answer,
    ):
        assert answer.status_code == 200
        lines = answer.iter_lines()
        for line in lines:
            if line.startswith("event: tokens"):
                break
        reader = threading.Thread(target=lambda: [None for _ in _quietly(lines)], daemon=True)
        reader.start()
        rows = http.get("/status").json()["requests"]
        assert rows, "what a key runs is in its own list"
        yield rows[-1]
    gateway.until_idle()


def _quietly(lines: Iterator[str]) -> Iterator[str]:
    """Lines until the answer is closed under the reader."""
    try:
        yield from lines
    except (httpx.HTTPError, httpx.StreamError, ValueError, OSError):
        return
