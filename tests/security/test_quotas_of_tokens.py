"""A key's tokens a minute, spent by who hangs up, asks side by side, or asks for something else."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.gateways import LiveGateway
from tests.live import wait_until
from tests.security.two_keys import TURN, keyed_gateway
from umad.asker import Asker
from umad.client import Client
from umad.gateway.door.keys import Caller
from umad.gateway.door.quotas import Quotas
from umad.gateway.errors import TooMany

PER_MINUTE = 200
NAMES = [f"key-{at:02d}" for at in range(24)]
KEYS = "keys:\n" + "".join(
    f"  - {{name: {name}, key: sk-{name}-0000, tokens_per_minute: {PER_MINUTE}}}\n"
    for name in NAMES
)
LONG = "one two three four five six seven eight nine ten " * 30


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with keyed_gateway(tmp_path_factory.mktemp("quotas"), keys=KEYS) as one:
        yield one


@pytest.fixture(scope="module")
def unused() -> Iterator[str]:
    """Keys that nobody has used, one after the other."""
    return iter(NAMES)


@pytest.fixture
def headers(unused: Iterator[str]) -> dict[str, str]:
    return {"authorization": f"Bearer sk-{next(unused)}-0000"}


# A stream of each dialect: what is asked, and how many tokens it may have.
STREAMS: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "x", "max_tokens": 1500, "ignore_eos": True, "stream": True},
    "/v1/chat/completions": {
        "messages": TURN,
        "max_tokens": 1500,
        "ignore_eos": True,
        "stream": True,
    },
    "/v1/responses": {"model": "nano", "input": "Hi", "max_output_tokens": 1500, "stream": True},
    "/v1/messages": {"model": "nano", "messages": TURN, "max_tokens": 1500, "stream": True},
    "/api/chat": {"model": "nano", "messages": TURN, "options": {"num_predict": 1500}},
    "/api/generate": {"model": "nano", "prompt": "Once", "options": {"num_predict": 1500}},
    "/generate": {"prompt": "x", "max_tokens": 1500, "ignore_eos": True},
}


def is_spent(gateway: LiveGateway, headers: dict[str, str]) -> bool:
    """The key is told to wait."""
    with gateway.http(headers=headers) as http:
        return http.post("/tokenize", json={"content": "x"}).status_code == 429


def hang_up_after(
    gateway: LiveGateway, path: str, body: dict[str, Any], headers: dict[str, str], n_bytes: int
) -> int:
    """Ask, read so much, and be gone; the bytes that were read."""
    raw = json.dumps(body).encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with closing(socket.create_connection(("127.0.0.1", gateway.port), timeout=60)) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}"
            f"Content-Length: {len(raw)}\r\n\r\n".encode()
            + raw
        )
        n_read = 0
        while n_read < n_bytes and (piece := connection.recv(65536)):
            n_read += len(piece)
    return n_read


@pytest.mark.parametrize("path", STREAMS)
def test_who_hangs_up_has_paid_for_what_was_sent(
    gateway: LiveGateway, headers: dict[str, str], path: str
) -> None:
    n_read, spent = 0, False
    for _ in range(40):
        # Asked once: a key that has just spent its tokens gets three more every second.
        if spent := is_spent(gateway, headers):
            break
        n_read += hang_up_after(gateway, path, STREAMS[path], headers, 4_000)
        idle(gateway)
    assert n_read > 0
    assert spent


def idle(gateway: LiveGateway) -> None:
    with Client(gateway.daemon.socket) as client:
        wait_until(lambda: not client.sessions(), what="an end of what was hung up on")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": LONG, "max_tokens": 1000, "ignore_eos": True}),
        ("/v1/completions", {"prompt": ["x", LONG], "max_tokens": 900, "ignore_eos": True}),
        ("/v1/embeddings", {"model": "nano", "input": [LONG] * 40}),
        ("/api/embed", {"model": "nano", "input": [LONG] * 40}),
        (
            "/v1/messages/count_tokens",
            {"model": "nano", "messages": [{"role": "user", "content": LONG}]},
        ),
    ],
)
def test_a_prompt_is_paid_for_by_who_does_not_wait_for_its_answer(
    gateway: LiveGateway, headers: dict[str, str], path: str, body: dict[str, Any]
) -> None:
    with Client(gateway.daemon.socket) as client:
        raw = json.dumps(body).encode()
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        with closing(socket.create_connection(("127.0.0.1", gateway.port), timeout=60)) as gone:
            gone.sendall(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}"
                f"Content-Length: {len(raw)}\r\n\r\n".encode()
                + raw
            )
            # All of its prompts: one that has not been taken yet costs nothing.
            n_prompts = len(body["prompt"]) if isinstance(body.get("prompt"), list) else 1
            wait_until(
                lambda: len(client.sessions()) >= n_prompts or is_spent(gateway, headers),
                what="its beginning",
            )
    idle(gateway)
    assert is_spent(gateway, headers)


def test_answers_side_by_side_each_cost(gateway: LiveGateway, headers: dict[str, str]) -> None:
    # One alone would leave some of the minute, and all together use so much that what comes back
    # meanwhile, three tokens a second, does not matter.
    body = {"prompt": "x", "max_tokens": 150, "ignore_eos": True, "n": 4}
    with gateway.http(headers=headers) as http:
        assert http.post("/v1/completions", json=body).status_code == 200
    assert is_spent(gateway, headers)


def test_requests_side_by_side_overdraw_by_no_more_than_one_of_them(
    gateway: LiveGateway, headers: dict[str, str]
) -> None:
    body = {"prompt": "x", "max_tokens": 100, "ignore_eos": True}

    async def scenario() -> list[httpx.Response]:
        async with gateway.async_http(headers=headers) as http:
            return list(
                await asyncio.gather(*(http.post("/v1/completions", json=body) for _ in range(30)))
            )

    answers = asyncio.run(scenario())
    used = sum(one.json()["usage"]["total_tokens"] for one in answers if one.status_code == 200)
    assert {one.status_code for one in answers} == {200, 429}
    assert used <= PER_MINUTE + 110
    refused = next(one for one in answers if one.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1


def test_texts_that_are_only_tokenized_are_work_too(
    gateway: LiveGateway, headers: dict[str, str]
) -> None:
    with gateway.http(headers=headers) as http:
        statuses = [http.post("/tokenize", json={"content": LONG}).status_code for _ in range(12)]
        ids = list(range(40, 240))
        assert http.post("/detokenize", json={"tokens": ids}).status_code == 429
    assert statuses[0] == 200
    assert statuses[-1] == 429


def test_a_prompt_that_is_refused_costs_what_it_took_to_find_out(
    gateway: LiveGateway, headers: dict[str, str]
) -> None:
    with gateway.http(headers=headers) as http:
        for _ in range(3):
            bad = http.post("/v1/completions", json={"prompt": "x", "temperature": 1e9})
            assert bad.status_code == 400
        assert not is_spent(gateway, headers)


# -- the bucket ------------------------------------------------------------------------------------


def caller(per_minute: int) -> Caller:
    return Caller(name="k", asker=Asker(owner="key:1", role="user"), tokens_per_minute=per_minute)


@given(
    st.integers(10, 1000),
    st.lists(st.tuples(st.integers(1, 300), st.floats(0, 1), st.booleans()), max_size=60),
)
def test_no_schedule_of_requests_uses_more_than_a_minute_and_one_request(
    per_minute: int, requests: list[tuple[int, float, bool]]
) -> None:
    """Each holds what it may use, uses some of it, and may stay open; the clock stands still."""
    quotas, used = Quotas(), 0
    for most, share, stays in requests:
        who = caller(per_minute)
        with contextlib.suppress(TooMany):
            quotas.take(who, 0.0)
            meter = quotas.meter(who, lambda: 0.0)
            assert meter is not None
            meter.hold(most)
            meter.take(round(most * share))
            used += round(most * share)
            if not stays:
                meter.close()
    assert used < per_minute + 300


def test_what_is_held_is_given_back() -> None:
    quotas, now_s = Quotas(), [0.0]
    clock: Callable[[], float] = lambda: now_s[0]  # noqa: E731
    first, second = (quotas.meter(caller(100), clock) for _ in range(2))
    assert first is not None
    assert second is not None
    first.hold(500)
    with pytest.raises(TooMany):
        second.hold(1)
    first.close()
    second.hold(1)
