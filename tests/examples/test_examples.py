"""Every program of examples/ does what its first lines say, on the model that ships."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import LiveDaemon, live_daemon
from umad import Client

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    with live_daemon(tmp_path_factory.mktemp("d"), "nano") as running:
        yield running


def run(
    command: list[str], *, stdin: str = "", folder: Path = ROOT
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=folder,
        env={name: text for name, text in os.environ.items() if name != "UMAD_SOCKET"},
    )


def python(name: str, daemon: LiveDaemon, *arguments: str, stdin: str = "") -> str:
    """What an example prints."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    ended = run([*command, "--socket", str(daemon.socket)], stdin=stdin)
    assert (ended.stderr, ended.returncode) == ("", 0)
    return ended.stdout


def test_every_example_is_run_here() -> None:
    run_here = {"chat.py", "structured.py", "tools.py", "embeddings.py", "socket.mjs"}

    # The contrastive sampler: tests/e2e/test_logits.py; the containers: tests/test_container.py.
    run_elsewhere = {"contrastive.py", "compose.yaml"}
    assert {path.name for path in EXAMPLES.glob("*.*")} == run_here | run_elsewhere


def test_a_chat_goes_on_until_an_empty_line(daemon: LiveDaemon) -> None:
    # Drawn at random an answer may be empty.
    brief = ("--max-tokens", "8", "--temperature", "0")
    said = python("chat", daemon, *brief, stdin="hello\nand then?\n\nnot read\n")

    assert said.count("\n") >= 2
    assert len(said.strip()) > 8


def test_an_answer_keeps_to_the_schema(daemon: LiveDaemon) -> None:
    person = json.loads(python("structured", daemon, "Ada Lovelace, born 1815 in London"))

    assert set(person) == {"name", "born", "trades"}
    assert 0 <= person["born"] <= 2100


def test_a_tool_is_called_and_its_result_goes_back(daemon: LiveDaemon) -> None:
    said = python("tools", daemon, "What is 12.5 times 8?")

    call = re.match(r"calculate\((\{.*\})\) = (-?[\d.e+]+)\n", said)
    assert call, said
    asked = json.loads(call[1])
    assert asked["operation"] in ("add", "subtract", "multiply")


def test_lines_are_found_by_their_meaning(daemon: LiveDaemon) -> None:
    lines = "with open(path) as file:\n\nimport socket\nreturn sum(values)\n"

    said = python("embeddings", daemon, "import socket", "--top", "2", stdin=lines)

    assert said.splitlines()[0] == "1.000  import socket"
    assert len(said.splitlines()) == 2


@needs_node
def test_another_language_needs_no_package(daemon: LiveDaemon) -> None:
    assert NODE is not None
    # Behind the whole first line alone, nano may begin with a mark of its own, which has no text.
    prompt = "def caf\u00e9(width, height):\n    return "
    with Client(daemon.socket) as client:
        assert client.complete(prompt, max_tokens=1) is not None

    ended = run([NODE, str(EXAMPLES / "socket.mjs"), prompt, str(daemon.socket)])

    assert (ended.stderr, ended.returncode) == ("", 0)
    assert ended.stdout.strip()


@needs_node
def test_another_language_hears_what_is_wrong(daemon: LiveDaemon, tmp_path: Path) -> None:
    assert NODE is not None
    program = str(EXAMPLES / "socket.mjs")

    refused = run([NODE, program, "", str(daemon.socket)])
    absent = run([NODE, program, "x", str(tmp_path / "none")])

    assert (refused.returncode, absent.returncode) == (1, 1)
    assert refused.stderr.startswith("bad_request: prompt is empty")
    assert absent.stderr.startswith("no daemon: ")


def test_the_raw_socket_takes_sixty_lines() -> None:
    assert len((EXAMPLES / "socket.mjs").read_text().splitlines()) <= 60


@pytest.mark.parametrize("name", ["chat", "structured", "tools", "embeddings"])
def test_without_a_daemon_an_example_says_so(name: str, tmp_path: Path) -> None:
    arguments = [] if name == "chat" else ["x"]

    ended = run(
        [
            *(sys.executable, str(EXAMPLES / f"{name}.py"), *arguments),
            *("--socket", str(tmp_path / "none")),
        ],
        stdin="x\n",
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith("no_daemon: ")
