"""Serves GET /: one web page with chats and the live scorecard.

The page is written as several files in `umad/gateway/page/`. They are put together once into one
response, so that the page needs no build and no outside assets. It gets its data as any other
client does, so the page itself needs no key. Its content security policy allows the scripts and the
style that are in it, by their digests, and requests to this gateway, and nothing else: no images,
no frames, and no text that becomes HTML.
"""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from umad.gateway.dialects.openai.error_shape import OPENAI
from umad.gateway.endpoint import Endpoint
from umad.gateway.gateway_call import GatewayCall

_STYLE = re.compile(r'<link rel="stylesheet" href="([\w./-]+)">')
_SCRIPT = re.compile(r'<script src="([\w./-]+)"></script>')
_RUNNING = "umad is running; open this address in a browser, or read /docs\n"


def _source(name: str) -> str:
    return files("umad.gateway").joinpath("page", *name.split("/")).read_text(encoding="utf-8")


def _inlined(html: str, named: re.Pattern[str], tag: str) -> tuple[str, list[str]]:
    """The page with the files that `named` finds inside of it, and their digests for the policy."""
    digests: list[str] = []

    def inline(found: re.Match[str]) -> str:
        text = _source(found[1])
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        digests.append(f"'sha256-{digest}'")
        return f"<{tag}>{text}</{tag}>"

    return named.sub(inline, html), digests


@cache
def _page() -> tuple[str, str]:
    """The page and its content security policy."""
    html, styles = _inlined(_source("index.html"), _STYLE, "style")
    html, scripts = _inlined(html, _SCRIPT, "script")
    policy = (
        f"default-src 'none'; script-src {' '.join(scripts)}; style-src {' '.join(styles)}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return html, policy


async def _root(call: GatewayCall) -> ASGIApp:
    if "text/html" not in call.request.headers.get("accept", ""):
        return PlainTextResponse(_RUNNING)
    html, policy = _page()
    headers = {
        "content-security-policy": policy,
        "cache-control": "no-cache",
        "referrer-policy": "no-referrer",
    }
    return Response(html, media_type="text/html", headers=headers)


ENDPOINTS = tuple(
    Endpoint(
        method=method,
        path="/",
        handle=_root,
        dialect=OPENAI,
        summary=f"The page to look at ({method})",
        types=("text/html", "text/plain"),
        needs_key=False,
    )
    for method in ("GET", "HEAD")
)
