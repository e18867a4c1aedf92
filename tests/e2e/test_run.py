"""`umad run` on a real model: a chat by itself, plain text where asked, JSON of a schema."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import START_S, LiveDaemon, live_daemon

SCHEMA = {
    "type": "object",
    "properties": {"open": {"type": "boolean"}},
    "required": ["open"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, nano_path: Path) -> Iterator[LiveDaemon]:
    with live_daemon(tmp_path_factory.mktemp("d"), "nano") as running:
        yield running


def run(daemon: LiveDaemon, *arguments: str, piped: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "umad", "run", *arguments, "--temperature", "0"],
        env=os.environ
        | {"UMAD_SOCKET": str(daemon.socket), "PYTHONPATH": str(Path(__file__).parents[2])},
        input=piped,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def prompt_tokens(daemon: LiveDaemon, *arguments: str, piped: str = "") -> int:
    said = run(daemon, *arguments, "--json", "--max-tokens", "2", piped=piped)
    return int(json.loads(said.splitlines()[-1])["usage"]["prompt_tokens"])


def test_a_model_with_a_template_is_asked_in_its_marks_unless_plain_text_is_asked_for(
    daemon: LiveDaemon,
) -> None:
    chat = prompt_tokens(daemon, "nano", "def f(x):")
    plain = prompt_tokens(daemon, "nano", "def f(x):", "--raw")

    assert chat > plain


def test_piped_text_is_read_with_the_prompt(daemon: LiveDaemon) -> None:
    alone = prompt_tokens(daemon, "sum it up", "--raw")
    both = prompt_tokens(daemon, "sum it up", "--raw", piped="one two three four five\n")

    assert both > alone


def test_an_answer_has_the_form_of_the_file(daemon: LiveDaemon, tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))

    said = run(daemon, "nano", "Is it open?", "--format", str(path), "--max-tokens", "60")

    assert list(json.loads(said)) == ["open"]
