"""The page at /: one file, and a policy that lets nothing else in. In a browser: tests/browser."""

import re

from tests.gateway.gateways import LiveGateway


def test_a_browser_gets_one_page_that_asks_for_nothing_outside(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        page = http.get("/", headers={"accept": "text/html"})

    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"""(?:src|href)=|https?://|@import|url\(""", page.text)


def test_a_program_is_told_that_umad_runs(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        assert http.head("/").status_code == 200
        assert "umad is running" in http.get("/").text
