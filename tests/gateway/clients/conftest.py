"""Gateways on nano for the clients: as it ships, with eyes, with ears."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from openai import OpenAI

from tests.engine.projector_files import write_gemma3, write_ultravox
from tests.gateway.gateways import LiveGateway, live_gateway


@pytest.fixture
def client(gateway: LiveGateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.address}/v1", api_key="none", max_retries=0, timeout=60) as one:
        yield one


@contextmanager
def _with_projector(kind: str) -> Iterator[LiveGateway]:
    folder = Path(tempfile.mkdtemp(prefix="umad-", dir="/tmp"))
    write = {"gemma3": write_gemma3, "ultravox": write_ultravox}[kind]
    try:
        projector = write(folder / "mmproj-nano.gguf")
        with live_gateway(folder, "nano", "--mmproj", str(projector)) as gateway:
            yield gateway
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def seeing() -> Iterator[LiveGateway]:
    """Of a model that sees; an image is 16 rows. The weights of its eyes are random."""
    with _with_projector("gemma3") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def listening() -> Iterator[LiveGateway]:
    """Of a model that hears; half a minute is 375 rows. The weights of its ears are random."""
    with _with_projector("ultravox") as gateway:
        yield gateway
