"""Who is let in, as a client on a real port meets it."""

import os
import signal

import httpx
import pytest

from tests.gateway.gateways import ANSWER_S, LiveGateway
from tests.live import wait_until
from umad.client import Client
from umad.request import SamplingParams


def test_a_name_that_was_made_to_point_here_is_refused(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        answer = http.get("/v1/models", headers={"host": "rebound.example:8080"})
    assert answer.status_code == 403
    assert answer.json()["error"]["type"] == "permission_error"


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1", "[::1]:9"])
def test_this_machines_own_names_are_answered_to(gateway: LiveGateway, host: str) -> None:
    with gateway.http() as http:
        assert http.get("/v1/models", headers={"host": host}).status_code == 200


def test_a_page_that_is_not_on_the_list_is_refused(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        stranger = http.get("/v1/models", headers={"origin": "https://other.example"})
        sandboxed = http.get("/v1/models", headers={"origin": "null"})
        listed = http.get("/v1/models", headers={"origin": "https://page.example"})
    assert (stranger.status_code, sandboxed.status_code, listed.status_code) == (403, 403, 200)
    assert "access-control-allow-origin" not in stranger.headers
    assert listed.headers["access-control-allow-origin"] == "https://page.example"


def test_the_id_a_client_sends_comes_back_in_header_error_and_log(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        answer = http.get("/v1/models/nix", headers={"x-request-id": "mine-1"})
    assert answer.status_code == 404
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.json()["error"]["request_id"] == "mine-1"
    wait_until(lambda: "id=mine-1" in gateway.daemon.log, what="a line in the log")


def test_an_id_that_would_break_a_log_line_is_replaced(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        answer = http.get("/v1/models", headers={"x-request-id": "a b status=200"})
    assert answer.headers["x-request-id"].startswith("req_")


def test_a_killed_gateway_comes_back_and_socket_clients_do_not_notice(
    gateway: LiveGateway,
) -> None:
    before = gateway.pid
    with Client(gateway.daemon.socket) as client:
        sampling = SamplingParams(temperature=0, max_tokens=200, ignore_eos=True)
        pieces = client.text("one two three", sampling=sampling)
        next(pieces)
        os.kill(before, signal.SIGKILL)
        rest = "".join(pieces)
    wait_until(lambda: gateway.pid != before, what="another gateway")
    wait_until(lambda: gateway.daemon.log.count("gateway ready") > 1, what="its readiness")
    gateway.address = gateway.daemon.log.rpartition("address=")[2].split()[0]
    assert httpx.get(f"{gateway.address}/v1/models", timeout=ANSWER_S).status_code == 200
    assert rest
