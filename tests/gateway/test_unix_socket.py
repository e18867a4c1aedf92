"""A gateway on a Unix socket, and one of its own before a daemon that is there already."""

import stat
from pathlib import Path

import httpx

from tests.gateway.gateways import ANSWER_S
from tests.live import START_S, live_daemon, wait_until


def test_a_unix_socket_is_its_owners_alone_and_goes_with_the_gateway(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with live_daemon(tmp_path, "--http", f"unix:{path}") as daemon:
        wait_until(lambda: "gateway ready" in daemon.log, within_s=START_S, what="a gateway")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=ANSWER_S) as http:
            # curl and others send what stands in their URL: there is no name to be rebound.
            answer = http.get("http://anything.example/v1/models")
        assert answer.status_code == 200

    assert not path.exists()
