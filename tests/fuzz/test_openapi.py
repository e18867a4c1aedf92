"""The gateway's own document turned against it: bodies it allows and bodies it does not, on every
endpoint, and every answer held against what the document says of it (`make fuzz-http`)."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.projector_files import write_gemma3
from tests.gateway.gateways import LiveGateway, live_gateway
from tests.gateway.media.seeing import gateway_with

# A bounded run: some minutes on two cores.
EXAMPLES = 40
WITHIN_S = 240
ANSWER_S = 30
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
# Where bodies have files in them: forms, and prompts with images.
WITH_FILES = (
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/completion",
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/messages",
)
CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[LiveGateway]:
    """Whatever a body names as a model is nano, so that requests get further than its name."""
    with live_gateway(
        tmp_path, "--max-tokens", "8", environment={"UMAD_ALIASES": "{'*': nano}"}
    ) as one:
        over = threading.Event()
        keeper = threading.Thread(target=keep_loaded, args=(one, over))
        keeper.start()
        yield one
        over.set()
        keeper.join(ANSWER_S)


def keep_loaded(gateway: LiveGateway, over: threading.Event) -> None:
    """Ollama's `keep_alive: 0` unloads a model."""
    with gateway.http() as http:
        while not over.wait(0.5):
            http.post("/load", json={"model": "nano"})


@pytest.mark.timeout(2 * WITHIN_S)
def test_no_body_makes_a_500_and_every_answer_is_as_documented(
    gateway: LiveGateway, tmp_path: Path
) -> None:
    # Unloading what all others need is tested elsewhere.
    fuzz(gateway, tmp_path, "--exclude-path", "/unload")


@pytest.fixture
def seeing() -> Iterator[LiveGateway]:
    with gateway_with(write_gemma3, "--max-tokens", "8", "--media-remote-urls") as one:
        yield one


@pytest.mark.timeout(2 * WITHIN_S)
def test_no_body_with_files_makes_a_500(seeing: LiveGateway, tmp_path: Path) -> None:
    fuzz(seeing, tmp_path, *(word for path in WITH_FILES for word in ("--include-path", path)))


def fuzz(gateway: LiveGateway, folder: Path, *paths: str) -> None:
    """Hold the endpoints of these paths against the document."""
    program = os.environ.get("SCHEMATHESIS") or shutil.which("schemathesis")
    if program is None:
        pytest.skip("schemathesis is not installed: make fuzz-http installs it")
    before = gateway.pid

    ended = subprocess.run(
        [
            *(program, "--config-file", str(CONFIG), "run", f"{gateway.address}/openapi.json"),
            *("--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES), "--seed", "1"),
            *("--phases", "examples,coverage,fuzzing", "--max-time", str(WITHIN_S)),
            *("--request-timeout", str(ANSWER_S), "--continue-on-failure", "--no-shrink"),
            *("--suppress-health-check", "all", *paths),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )

    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr[-2_000:]
    assert gateway.pid == before, "the gateway was started again"
    assert "unexpectedly" not in gateway.daemon.log
    print(ended.stdout[-3_000:])
