"""A client that leaves, in each state of its request, streaming or not: nothing of it stays."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.gateway.gateways import LONG_ANSWERS, LONG_TOKENS, LiveGateway, live_gateway
from tests.live import wait_until
from umad.client import Client

# Some tokens of work left when the client goes, whatever the machine.
LONG = {"temperature": 0, "max_tokens": LONG_TOKENS, "ignore_eos": True}
LONG_PROMPT = "one two three four " * 700


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """Room for one sequence: a second request waits."""
    with live_gateway(tmp_path_factory.mktemp("narrow"), "--max-seqs", "1", *LONG_ANSWERS) as one:
        yield one


def ask(gateway: LiveGateway, path: str, body: dict[str, object]) -> socket.socket:
    """A request on a connection of its own, sent and not yet answered."""
    raw = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=60)
    connection.sendall(
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(raw)}\r\n\r\n".encode()
        + raw
    )
    return connection


def states(gateway: LiveGateway) -> list[str]:
    """Of every live request, oldest first."""
    with Client(gateway.daemon.socket) as client:
        return [str(row["state"]) for row in client.sessions()]


def all_gone(gateway: LiveGateway) -> bool:
    return not states(gateway) and gateway.daemon.cells_used() == 0


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_while_it_generates(gateway: LiveGateway, path: str, stream: bool) -> None:
    what = {"prompt": "one"} if path == "/v1/completions" else {
        "messages": [{"role": "user", "content": "one"}]
    }  # fmt: skip
    with closing(ask(gateway, path, {**LONG, **what, "stream": stream})):
        wait_until(lambda: "generating" in states(gateway), what="a token")

    wait_until(lambda: all_gone(gateway), what="the end of it")


@pytest.mark.parametrize("stream", [True, False])
def test_while_its_prompt_is_read(gateway: LiveGateway, stream: bool) -> None:
    body = {**LONG, "max_tokens": 100, "prompt": f"{stream} {LONG_PROMPT}", "stream": stream}
    with closing(ask(gateway, "/v1/completions", body)):
        wait_until(lambda: "prefill" in states(gateway), what="the reading")

    wait_until(lambda: all_gone(gateway), what="the end of it")


@pytest.mark.parametrize("stream", [True, False])
def test_while_it_waits_its_turn(narrow: LiveGateway, stream: bool) -> None:
    with closing(ask(narrow, "/v1/completions", {**LONG, "prompt": "one", "stream": True})):
        wait_until(lambda: states(narrow) == ["generating"], what="the first")
        with closing(ask(narrow, "/v1/completions", {**LONG, "prompt": "2", "stream": stream})):
            wait_until(lambda: states(narrow) == ["generating", "queued"], what="the second")

        wait_until(lambda: states(narrow) == ["generating"], what="its going")

    wait_until(lambda: all_gone(narrow), what="the end of it")


def test_before_its_body_is_complete(gateway: LiveGateway) -> None:
    with closing(socket.create_connection(("127.0.0.1", gateway.port), timeout=60)) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nx-request-id: half\r\n"
            b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n"
        )
        # The gateway knows by then who asks, and waits for the body.
        assert connection.recv(1024).startswith(b"HTTP/1.1 100")
        connection.sendall(b"{")

    wait_until(
        lambda: "id=half key=- method=POST path=/v1/completions status=499" in gateway.daemon.log,
        what="its line in the log",
    )


def test_a_waiting_stream_has_its_headers_at_once_and_is_kept_alive(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with live_gateway(
        tmp_path_factory.mktemp("alive"),
        *("--max-seqs", "1", "--gateway-keep-alive-s", "0.2"),
        *LONG_ANSWERS,
    ) as one:
        with closing(ask(one, "/v1/completions", {**LONG, "prompt": "one", "stream": True})):
            wait_until(lambda: states(one) == ["generating"], what="the first")
            with (
                one.http() as http,
                http.stream(
                    "POST", "/v1/completions", json={**LONG, "prompt": "two", "stream": True}
                ) as answer,
            ):
                assert answer.status_code == 200
                lines = answer.iter_lines()
                heard = [next(lines) for _ in range(6)]
                assert states(one) == ["generating", "queued"]
        assert [line for line in heard if line] == [": keep-alive"] * 3
