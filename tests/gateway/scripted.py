"""A gateway before a daemon whose model answers by script, so that tools really are called."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.daemon.house import DAEMON_PROGRAM
from tests.live import START_S, STOP_S, wait_until
from umad.testing import FakeModel

MODEL = "a"
LAST_WORDS = "The work is done."
_ADDRESS = re.compile(r"umad gateway ready address=(\S+)")


def hermes_call(name: str, arguments: dict[str, Any]) -> str:
    """What a model of the Hermes family writes to call a tool."""
    call = json.dumps({"name": name, "arguments": arguments})
    return f"One moment.\n<tool_call>\n{call}\n</tool_call>"


@contextmanager
def scripted_gateway(
    folder: Path, first_words: str, last_words: str = LAST_WORDS
) -> Iterator[tuple[str, Path]]:
    """Address and socket. The model says `first_words` while a tool may be called, `last_words`
    once one has answered or where there is none."""
    with faked_gateway(folder, FakeModel(script=(first_words, last_words), family="hermes")) as one:
        yield one


@contextmanager
def faked_gateway(
    folder: Path, model: FakeModel, *, on_disk: Path | None = None
) -> Iterator[tuple[str, Path]]:
    """Address and socket of a gateway before a daemon with `model` for an engine. on_disk: a folder
    of models that may be loaded.
    """
    path = model.write(folder / f"{MODEL}.gguf")
    socket = folder / "u.sock"
    python = sys.executable
    serve = [python, "-c", DAEMON_PROGRAM, str(socket), "1", str(path)]
    gateway = [python, "-m", "umad", "gateway", f"--socket={socket}", "--http=127.0.0.1:0"]
    environment = {
        **os.environ,
        "UMAD_CONFIG": str(folder / "none.yaml"),
        "TEST_MODEL_FOLDER": str(on_disk or ""),
    }
    (folder / "none.yaml").touch()
    log = folder / "gateway.log"
    with contextlib.ExitStack() as exits:
        for name, command in (("daemon", serve), ("gateway", gateway)):
            errors = exits.enter_context((folder / f"{name}.log").open("w"))
            process = subprocess.Popen(command, stderr=errors, env=environment)
            exits.callback(process.wait, STOP_S)
            exits.callback(process.terminate)
            if name == "daemon":
                wait_until(socket.exists, within_s=START_S, what="a daemon")
        wait_until(
            lambda: _ADDRESS.search(log.read_text()) is not None, within_s=START_S, what="a gateway"
        )
        yield _ADDRESS.findall(log.read_text())[-1], socket
