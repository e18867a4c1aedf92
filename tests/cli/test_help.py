"""The help of every command comes at once, because it imports nothing of the command's work."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import click

from umad.cli.app import umad

ROOT = Path(__file__).parents[2]
# Each of these takes a command a tenth of a second or more, directly or by what it brings along.
HEAVY = (
    *("asyncio", "http.client", "httpx2", "huggingface_hub", "llama_cpp", "msgpack"),
    *("multiprocessing", "numpy", "psutil"),
    *("pydantic", "readline", "rich", "sqlite3", "starlette", "uvicorn", "uvloop", "yaml"),
    *("filelock", "umad.models.fetching", "textual", "umad.cli.top", "umad.cli.known_names"),
    *("umad.chat", "umad.client", "umad.daemon", "umad.engine", "umad.gateway", "umad.metrics"),
    *("umad.protocol", "umad.sampling", "umad.scheduler", "umad.configuration.sources"),
)
# Prints, for each command line of `argv[1]`, which of `argv[2]` its help has imported first.
PROGRAM = """
import contextlib, io, json, sys
from umad.cli.app import main
lines, heavy = json.loads(sys.argv[1]), json.loads(sys.argv[2])
found = {}
for words in lines:
    with contextlib.redirect_stdout(io.StringIO()):
        assert main([*words, "--help"]) == 0, words
    found[" ".join(words)] = [name for name in heavy if name in sys.modules]
print(json.dumps(found))
"""
# What any command of click imports. The help takes twice its time, whatever the machine is.
PLAIN = "import click, dataclasses, json, re, typing"
MOST_TIMES = 6.0


def command_lines(command: click.Command = umad, *words: str) -> list[list[str]]:
    """Every command and group, by the words that lead to it."""
    found = [list(words)]
    if isinstance(command, click.Group) and command.name != "bench":  # its commands are bench's
        for name in sorted(command.commands):
            found += command_lines(command.commands[name], *words, name)
    return found


def test_no_help_imports_what_only_the_work_needs() -> None:
    lines = command_lines()
    assert ["config", "show"] in lines
    assert ["launch"] in lines

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(lines), json.dumps(HEAVY)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert {line: names for line, names in json.loads(done.stdout).items() if names} == {}


def test_the_first_help_of_a_process_takes_little_processor_time() -> None:
    def used_s() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def spent_s(*words: str) -> float:
        before_s = used_s()
        done = subprocess.run(
            [sys.executable, *words],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return used_s() - before_s

    assert spent_s("-m", "umad", "--help") < MOST_TIMES * spent_s("-c", PLAIN)
