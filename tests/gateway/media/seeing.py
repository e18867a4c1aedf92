"""Gateways whose models see or hear, and files as their clients write them. Not a test.

The projectors have random weights, so answers mean nothing; what counts is what is taken and what
is refused.
"""

import base64
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.gateway.gateways import LiveGateway, live_gateway


@contextmanager
def gateway_with(write: Callable[[Path], Path], *arguments: str) -> Iterator[LiveGateway]:
    """A gateway on nano with the projector that `write` writes."""
    folder = Path(tempfile.mkdtemp(prefix="umad-", dir="/tmp"))
    try:
        projector = write(folder / "mmproj-nano.gguf")
        with live_gateway(folder, "nano", "--mmproj", str(projector), *arguments) as gateway:
            yield gateway
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def posted(gateway: LiveGateway, path: str, body: Any) -> httpx.Response:
    with gateway.http() as http:
        return http.post(path, json=body)
