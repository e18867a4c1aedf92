"""HEAD is answered wherever GET is: the same status and headers, and no body."""

import httpx
import pytest

from tests.gateway.gateways import LiveGateway
from tests.live import wait_until
from umad.gateway.dialects import ENDPOINTS
from umad.gateway.dialects.openai.error_shape import OPENAI
from umad.gateway.openapi import docs_of

READ = [
    one.path.replace("{id}", "resp_none").replace("{model:path}", "nano")
    for one in (*ENDPOINTS, *docs_of(ENDPOINTS, OPENAI))
    if one.method == "GET"
]


@pytest.mark.parametrize("path", [*READ, "/v1/models/nobody", "/no/such/path"])
def test_head_is_get_without_the_body(gateway: LiveGateway, path: str) -> None:
    with gateway.http() as http:
        head = http.head(path)
        with http.stream("GET", path) as get:  # a stream of news has no end
            pass

    assert head.content == b""
    assert (head.status_code, head.headers.get("content-type")) == (
        get.status_code,
        get.headers.get("content-type"),
    )


def test_a_page_of_another_origin_may_ask_by_head(gateway: LiveGateway) -> None:
    asks = {
        "origin": "https://page.example",
        "access-control-request-method": "HEAD",
        "access-control-request-headers": "authorization",
    }
    with gateway.http() as http:
        answer = http.options("/api/tags", headers=asks)

    assert answer.status_code == 200
    assert "HEAD" in answer.headers["access-control-allow-methods"]


def test_the_log_tells_head_from_get(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        answer: httpx.Response = http.head("/api/version")
        http.get("/health")

    def lines() -> list[str]:
        said = gateway.daemon.log.splitlines()
        return [line for line in said if answer.headers["x-request-id"] in line]

    wait_until(lambda: bool(lines()), what="a line in the log")
    line = lines()[0]
    assert "method=HEAD path=/api/version" in line
