"""The page at /: one response, and a policy that lets nothing else in. tests/browser uses it."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

from typing_extensions import override

import umad.gateway
from tests.gateway.gateways import LiveGateway

SOURCES = Path(umad.gateway.__file__).parent / "page"


class _Inline(HTMLParser):
    """The texts of a page's scripts and styles, and the attributes of all its elements."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self.attributes: set[str] = set()
        self._inside = ""

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.update(name for name, _ in attrs)
        self._inside = tag

    @override
    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    @override
    def handle_data(self, data: str) -> None:
        if self._inside in self.texts:
            self.texts[self._inside].append(data)


def test_a_browser_gets_one_page_that_asks_for_nothing_outside(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        page = http.get("/", headers={"accept": "text/html"})

    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"""(?:src|href)=|https?://|@import|url\(""", page.text)


def test_the_policy_allows_exactly_the_scripts_and_the_style_that_are_in_the_page(
    gateway: LiveGateway,
) -> None:
    with gateway.http() as http:
        page = http.get("/", headers={"accept": "text/html"})
    parts = dict(
        part.strip().partition(" ")[::2]
        for part in page.headers["content-security-policy"].split(";")
    )
    inline = _Inline()
    inline.feed(page.text)

    for tag in ("script", "style"):
        digests = [
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for text in inline.texts[tag]
        ]
        assert digests
        assert parts[f"{tag}-src"].split() == digests
    assert "style" not in inline.attributes
    assert not [name for name in inline.attributes if name.startswith("on")]
    assert parts["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in page.headers["content-security-policy"]


def test_every_source_of_the_page_is_in_it(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        page = http.get("/", headers={"accept": "text/html"}).text

    for source in (*SOURCES.rglob("*.js"), *SOURCES.rglob("*.css")):
        assert source.read_text(encoding="utf-8") in page, source.name


def test_a_program_is_told_that_umad_runs(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        assert http.head("/").status_code == 200
        assert "umad is running" in http.get("/").text
