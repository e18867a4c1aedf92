"""Serves GET /: one small web page with a chat and the live scorecard.

The page is a single file without a build or outside assets, read once. It gets its data as any
other client does, so the page itself needs no key. The content security policy sent with it lets it
load nothing else.
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

_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_RUNNING = "umad is running; open this address in a browser, or read /docs\n"


@cache
def _page() -> tuple[str, str]:
    """The page and its content security policy."""
    html = files("umad.gateway").joinpath("page", "index.html").read_text(encoding="utf-8")
    script = "".join(_SCRIPT.findall(html))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy


async def _root(call: GatewayCall) -> ASGIApp:
    if "text/html" not in call.request.headers.get("accept", ""):
        return PlainTextResponse(_RUNNING)
    html, policy = _page()
    headers = {"content-security-policy": policy, "cache-control": "no-cache"}
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
