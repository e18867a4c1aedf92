"""A gateway in the process of the test, before a daemon that answers by script. Not a test."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx

from tests.gateway.scripted_service import Scripted
from umad.config import HttpSettings
from umad.gateway.app import create_app


def answers(
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: Any = None,
    service: Scripted | None = None,
    **settings: Any,
) -> httpx.Response:
    """What the gateway answers. `path` goes on the wire as it stands."""

    async def ask() -> httpx.Response:
        app = create_app(HttpSettings(**settings), service or Scripted())
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            url = httpx.URL("http://localhost").copy_with(raw_path=path.encode())
            return await http.request(method, url, headers=headers, json=body)

    return asyncio.run(ask())
