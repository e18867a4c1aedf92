"""Local mode: an engine as a process of this machine, without a cloud or SkyPilot.

The engine listens on loopback. umad and vLLM get their key by a file or an environment, which no
command line shows; SGLang takes a key on its command line alone, so it gets none, and any user of
this machine may ask it. The process has a session of its own and outlives the command. Its output
goes into a file of this user.
Blocks until it was started, not until it is loaded. Owner: anybody's thread.
"""

import os
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from umad.errors import BadRequest, Unsupported
from umad.isolated import python_module
from umad.private_file import open_append

_ENDED_WITHIN_S = 30.0
# vLLM's own name of the variable (vllm/envs.py).
VLLM_KEY = "VLLM_API_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A process of this machine."""

    pid: int
    began_s: float


def umad_words(model: Path, port: int, keys: Path) -> list[str]:
    """The command line of umad itself, with a socket of its own beside its keys."""
    folder = keys.parent
    return python_module(
        "umad", "serve", str(model), "--http", f"127.0.0.1:{port}",
        "--api-key-file", str(keys), "--socket", str(folder / "umad.sock"),
    )  # fmt: skip


def engine_words(command: tuple[str, ...], port: int) -> list[str]:
    """A plan's command line for this machine. Raises `Unsupported` where the engine is not here."""
    program, *words = command
    if program == "python":
        # SGLang is a module: of the Python that has it.
        found = shutil.which("sglang")
        python = None if found is None else str(Path(found).with_name("python"))
        missing = "sglang"
    else:
        python, missing = shutil.which(program), program
    if python is None:
        raise Unsupported(
            f"{missing} is not installed here: pip install {missing}, or leave out --local"
        )
    return [python, *words, "--host", "127.0.0.1", "--port", str(port)]


def start(words: list[str], log: Path, *, environment: dict[str, str] | None = None) -> Started:
    """Start it. Raises `OSError` of a log that cannot be written."""
    descriptor = open_append(log)
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    started = Started(pid=child.pid, began_s=psutil.Process(child.pid).create_time())
    # It outlives this process on purpose, which Popen would warn of.
    child.returncode = 0
    return started


def runs(started: Started) -> bool:
    """Whether this very process lives: numbers come again."""
    try:
        found = psutil.Process(started.pid)
        return found.create_time() == started.began_s and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(started: Started) -> None:
    """End it and all that it started, at once after some seconds of grace."""
    if not runs(started):
        return
    parent = psutil.Process(started.pid)
    family = [*parent.children(recursive=True), parent]
    os.killpg(started.pid, signal.SIGTERM)
    _, left = psutil.wait_procs(family, timeout=_ENDED_WITHIN_S)
    for one in left:
        one.kill()
    psutil.wait_procs(left, timeout=_ENDED_WITHIN_S)


def free_port(wanted: int) -> int:
    """The port itself, or any that is free for 0. Raises `BadRequest` where it is taken."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise BadRequest(f"port {wanted}: {error.strerror}", field="port") from None
        return int(tried.getsockname()[1])


def model_file(folder: Path) -> Path:
    """What umad serves of a folder: its one GGUF file, or the first part of a split one."""
    if folder.is_file():
        return folder
    found = sorted(one for one in folder.glob("*.gguf") if not one.name.startswith("mmproj"))
    first = [one for one in found if "-00001-of-" in one.name]
    if len(first) == 1:
        return first[0]
    if len(found) == 1:
        return found[0]
    names = ", ".join(one.name for one in found[:5]) or "none"
    raise BadRequest(
        f"{folder} has {len(found)} GGUF files ({names}), and umad serves one: name it",
        field="model",
    )
