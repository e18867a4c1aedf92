"""Coding agents against umad, their model answering by script: `make agents-test`.

Each is started by `umad launch`. Those from npm are told by the model to call their shell, call it
for real, send what came of it, and end with the model's last words.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.scripted import LAST_WORDS, hermes_call, scripted_gateway

ROOT = Path(__file__).parents[2]
# They start in seconds, on a crowded machine in many.
PATIENCE_S = 290.0
pytestmark = pytest.mark.timeout(300)
COMMAND = "echo made by a tool > made.txt"
# Agent: its shell's name and arguments, and how it runs without anybody watching.
AGENTS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "claude": (
        "Bash",
        {"command": COMMAND, "description": "Make a file"},
        ["-p", "Make a file", "--allowedTools", "Bash"],
    ),
    "codex": (
        "exec_command",
        {"cmd": COMMAND},
        ["exec", "--dangerously-bypass-approvals-and-sandbox", "Make a file"],
    ),
    "opencode": (
        "bash",
        {"command": COMMAND, "description": "Make a file"},
        ["run", "Make a file"],
    ),
}


# aider calls no tools: it reads files out of the answer.
FILE_ANSWER = "Here it is.\n\nmade.txt\n```\nmade by a tool\n```\n"
AIDER = [
    *("--message", "Make a file", "made.txt", "--yes-always", "--edit-format", "whole"),
    *("--no-git", "--no-check-update", "--analytics-disable", "--no-detect-urls"),
]


def launched(folder: Path, url: str, socket: Path, agent: str, words: list[str]) -> str:
    """What `umad launch AGENT` said in `folder`/work, with a home of its own."""
    if shutil.which(agent) is None:
        pytest.skip(f"{agent} is not installed")
    home, work = folder / "home", folder / "work"
    (home / "codex").mkdir(parents=True)
    work.mkdir()
    subprocess.run(["git", "init", "-q", str(work)], check=True)
    launch = [sys.executable, "-m", "umad", "launch", f"--socket={socket}", f"--url={url}"]
    done = subprocess.run(
        [*launch, agent, *words],
        cwd=work,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env={
            **os.environ,
            "HOME": str(home),
            "CODEX_HOME": str(home / "codex"),
            "PWD": str(work),  # opencode goes by it
            "PYTHONPATH": str(ROOT),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_runs_its_tool_and_hears_the_last_word(short_tmp_path: Path, agent: str) -> None:
    tool, arguments, words = AGENTS[agent]

    with scripted_gateway(short_tmp_path, hermes_call(tool, arguments)) as (url, socket):
        said = launched(short_tmp_path, url, socket, agent, words)

    assert (short_tmp_path / "work" / "made.txt").read_text() == "made by a tool\n"
    assert LAST_WORDS in said


def test_aider_writes_the_file_it_is_answered(short_tmp_path: Path) -> None:
    with scripted_gateway(short_tmp_path, "", FILE_ANSWER) as (url, socket):
        said = launched(short_tmp_path, url, socket, "aider", AIDER)

    assert (short_tmp_path / "work" / "made.txt").read_text() == "made by a tool\n"
    assert "Applied edit to made.txt" in said
