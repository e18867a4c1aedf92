"""Keys, quotas, sizes and slowness, as a client on a real port meets them."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.gateway.gateways import LONG_ANSWERS, LONG_TOKENS, LiveGateway, live_gateway
from tests.live import wait_until
from umad.client import Client

KEYS = """
keys:
  - {name: laptop, key: sk-laptop-1, app: zed, lane: background}
  - {name: meter, key: sk-meter-1, tokens_per_minute: 10}
  - {name: counter, key: sk-counter-1, requests_per_minute: 2}
"""
BODY = {"prompt": "one two", "max_tokens": 4}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "keys.yaml").write_text(KEYS)
    (folder / "keys.yaml").chmod(0o600)
    with live_gateway(
        folder,
        *("--api-key-file", str(folder / "keys.yaml"), "--gateway-body-bytes", "16KiB"),
        *("--gateway-body-s", "0.5", "--gateway-concurrency", "4"),
        *LONG_ANSWERS,
    ) as one:
        yield one


def with_key(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "headers", [{}, with_key("sk-laptop-2"), {"authorization": "Basic sk-laptop-1"}]
)
def test_without_a_known_key_nothing_is_served(
    guarded: LiveGateway, headers: dict[str, str]
) -> None:
    with guarded.http() as http:
        answer = http.post("/v1/completions", json=BODY, headers=headers)

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key"])
def test_a_key_may_come_in_each_of_the_packages_headers(guarded: LiveGateway, header: str) -> None:
    value = "Bearer sk-laptop-1" if header == "authorization" else "sk-laptop-1"
    with guarded.http() as http:
        assert http.get("/v1/models", headers={header: value}).status_code == 200


def test_health_needs_no_key(guarded: LiveGateway) -> None:
    with guarded.http() as http:
        assert http.get("/health").status_code == 200


def test_a_key_stands_for_an_app_and_a_lane(guarded: LiveGateway) -> None:
    body = {"prompt": "x", "max_tokens": LONG_TOKENS, "ignore_eos": True, "stream": True}
    with (
        guarded.http(headers=with_key("sk-laptop-1")) as http,
        http.stream("POST", "/v1/completions", json=body),
        Client(guarded.daemon.socket) as client,
    ):
        (row,) = client.sessions()

    assert (row["app"], row["lane"]) == ("zed", "background")


def test_a_quota_of_requests_says_when_to_come_back(guarded: LiveGateway) -> None:
    with guarded.http(headers=with_key("sk-counter-1")) as http:
        answers = [http.post("/v1/completions", json=BODY) for _ in range(3)]

    assert [one.status_code for one in answers] == [200, 200, 429]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 31
    assert answers[2].json()["error"]["type"] == "rate_limit_error"


def test_a_quota_of_tokens_counts_prompts_and_answers(guarded: LiveGateway) -> None:
    with guarded.http(headers=with_key("sk-meter-1")) as http:
        first = http.post("/v1/completions", json={**BODY, "max_tokens": 40, "ignore_eos": True})
        second = http.post("/v1/completions", json=BODY)

    assert (first.status_code, second.status_code) == (200, 429)
    assert int(second.headers["retry-after"]) > 60  # more than a minute's worth was used


def test_a_body_that_is_too_large_is_refused_before_it_is_read(guarded: LiveGateway) -> None:
    with guarded.http(headers=with_key("sk-laptop-1")) as http:
        told = http.post("/v1/completions", json={"prompt": "x" * 20_000})
        untold = http.post("/v1/completions", content=(b"x" * 1000 for _ in range(20)))

    assert (told.status_code, untold.status_code) == (413, 413)


def test_a_body_that_does_not_come_is_given_up(guarded: LiveGateway) -> None:
    with closing(socket.create_connection(("127.0.0.1", guarded.port), timeout=60)) as slow:
        slow.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nx-api-key: sk-laptop-1\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        answer = slow.recv(4096)

    assert answer.startswith(b"HTTP/1.1 408 ")


def test_more_at_once_than_allowed_are_told_to_wait(guarded: LiveGateway) -> None:
    body = {"prompt": "x", "max_tokens": LONG_TOKENS, "ignore_eos": True, "stream": True}

    async def scenario() -> int:
        async with (
            guarded.async_http(headers=with_key("sk-laptop-1")) as http,
            contextlib.AsyncExitStack() as held,
        ):
            for _ in range(4):
                answer = await held.enter_async_context(
                    http.stream("POST", "/v1/completions", json=body)
                )
                assert answer.status_code == 200
            return (await http.post("/v1/completions", json=BODY)).status_code

    assert asyncio.run(scenario()) == 429


def test_no_prompt_and_no_key_is_in_the_log(guarded: LiveGateway) -> None:
    secret = "the-prompts-own-words"
    with guarded.http(headers=with_key("sk-laptop-1")) as http:
        http.post("/v1/completions", json={"prompt": secret, "max_tokens": 2})
        http.post("/v1/completions", content=json.dumps({"prompt": secret})[:-1])
        http.post("/v1/completions", json={"prompt": secret, "temperature": secret})
        answer = http.get("/v1/models", headers={"x-request-id": "last-of-it"})

    assert answer.status_code == 200
    wait_until(lambda: "id=last-of-it" in guarded.daemon.log, what="the last line")
    assert secret not in guarded.daemon.log
    assert "sk-" not in guarded.daemon.log


MALFORMED = [
    (b"{", 400),
    (b"[]", 400),
    (b"null", 400),
    (b"\xff\xfe", 400),
    (b'{"prompt": "\\ud800"}', 400),
    (b"[" * 10_000, 400),
    (b'{"prompt": 1e999}', 400),
    (b'{"prompt": "x", "seed": 123456789012345678901234567890}', 400),
    (b'{"prompt": "x", "temperature": NaN}', 400),
    (b'{"prompt": "x", "stop": [[]]}', 400),
    (b'{"prompt": "x", "n": true}', 400),
    (b'{"prompt": "x", "model": {"a": 1}}', 400),
    (b"", 400),
]


@pytest.mark.parametrize(("body", "status"), MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_no_request_is_a_400_of_the_dialect(
    gateway: LiveGateway, body: bytes, status: int
) -> None:
    with gateway.http() as http:
        answer: httpx.Response = http.post("/v1/completions", content=body)

    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--http", "0.0.0.0:0"], "--api-key-file"),
        (["--http", "nowhere"], "--http"),
        (["--http", "127.0.0.1:0", "--api-key-file", "/no/such/file"], "/no/such/file"),
    ],
)
def test_a_door_that_stands_open_is_refused_before_anything_starts(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    (tmp_path / "none.yaml").touch()
    ended = subprocess.run(
        [sys.executable, "-m", "umad", "serve", "--socket", str(tmp_path / "u.sock"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "UMAD_CONFIG": str(tmp_path / "none.yaml")},
    )

    assert ended.returncode == 2
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1
