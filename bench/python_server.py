"""Runs llama-cpp-python's own server, in a virtual environment of its own.

Its packages beside the library (its `server` extra) are installed in the cache folder, never beside
umad. The library is the one that umad's engine runs, found through a .pth file, so that both decode
with the same build. It takes prompts as text only, and serves one request at a time. It is told not
to drop a running stream for a newcomer, which it does by default.
Owner: whoever holds the lock `python-server`; a server lives and dies with its `PythonServer`.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

from typing_extensions import override

from bench import cache, instructions
from bench.arrivals import Arrival
from bench.errors import BenchError
from bench.exchange import Exchange, ServerConnection, trace_of
from bench.http_server import HttpServer
from bench.latency import Trace
from bench.peer_server import time_of_end
from bench.peers import VERSION

_INSTALL_S = 600.0
_APPLICATION = "llama_cpp.server.app:create_app"
# It has no switch for repacking, which its library does unasked.
_WITHOUT_REPACKING = """
import sys
import llama_cpp.llama_cpp as lib
import uvicorn

defaults = lib.llama_model_default_params

def plain():
    params = defaults()
    params.use_extra_bufts = False
    return params

lib.llama_model_default_params = plain
sys.exit(uvicorn.main())
"""
# Common words, with the space before them a token each in the vocabularies that are measured.
_WORDS = ("of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on")
_EVENT = re.compile(rb"^data: (\{.*\})\r?$", re.MULTILINE)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PythonServerSettings:
    """How it is started; what is not named here keeps its default."""

    model: Path
    context_tokens: int
    threads: int
    log_name: str = "llama-cpp-python"
    start_timeout_s: float = 120.0


class PythonServer(HttpServer):
    """One running `llama_cpp.server`."""

    def __init__(self, settings: PythonServerSettings) -> None:
        super().__init__(
            name="llama-cpp-python's server",
            log_name=settings.log_name,
            health="/v1/models",
            start_timeout_s=settings.start_timeout_s,
        )
        self._settings = settings

    @override
    def command(self) -> tuple[list[str], dict[str, str] | None]:
        settings = self._settings
        how = ("-m", "uvicorn") if instructions.repack_works() else ("-c", _WITHOUT_REPACKING)
        command = [
            *(str(interpreter()), *how, "--factory", _APPLICATION),
            *("--uds", str(self.socket_path), "--log-level", "warning"),
        ]
        # It reads its settings from the environment, under names that others use too.
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return command, kept | {
            "MODEL": str(settings.model.resolve()),
            "N_CTX": str(settings.context_tokens),
            "N_THREADS": str(settings.threads),
            "N_THREADS_BATCH": str(settings.threads),
            "INTERRUPT_REQUESTS": "false",
        }


class PythonConnection(ServerConnection):
    """`POST /v1/completions`; a connection for each request, made before its clock starts."""

    def __init__(self, socket_path: Path) -> None:
        super().__init__(socket_path, progress=False)

    @override
    def request(self, prompt: Sequence[int], tokens: int) -> bytes:
        return completion_request(prompt, tokens)

    @override
    def trace(self, exchange: Exchange) -> Trace:
        if not exchange.pieces:
            return Trace(sent_ns=exchange.sent_ns, ended=False)
        ended = exchange.ended.done() and not exchange.ended.cancelled()
        arrivals = arrivals_in(exchange.pieces, asked_tokens=exchange.asked_tokens)
        return trace_of(exchange, arrivals, [], ended=ended)


def completion_request(prompt: Sequence[int], tokens: int) -> bytes:
    """A whole HTTP request for a greedy, streamed completion of a text as long as `prompt`."""
    words = " ".join(_WORDS[token % len(_WORDS)] for token in prompt)
    asked = {"prompt": words, "max_tokens": tokens, "stream": True, "temperature": 0}
    body = json.dumps(asked).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def arrivals_in(pieces: Sequence[tuple[int, bytes]], *, asked_tokens: int) -> list[Arrival]:
    """Arrivals in a raw response, given as (time in ns, bytes) of each read.

    An event with text is one token, but for half characters that were held back: those count
    with the last event, when it says that the limit was what ended the stream.
    """
    arrivals: list[Arrival] = []
    tokens = 0
    for at_ns, event in time_of_end(pieces, _EVENT):
        choice = json.loads(event)["choices"][0]
        tokens += bool(choice["text"])
        if choice["finish_reason"] == "length":
            tokens = asked_tokens
        if tokens > (arrivals[-1].tokens if arrivals else 0):
            arrivals.append(Arrival(at_ns=at_ns, tokens=tokens))
    return arrivals


def interpreter() -> Path:
    """The Python of the server's environment, which is made when missing; blocks meanwhile."""
    home = cache.folder(f"python-server-{VERSION}")
    python, stamp = home / "bin" / "python", home / "installed"
    engines = "\n".join(dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib")))
    with cache.exclusive("python-server"):
        if python.is_file() and stamp.is_file() and stamp.read_text() == engines:
            return python
        venv.create(home, clear=True, with_pip=True, symlinks=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        site = home / "lib" / version / "site-packages"
        (site / "engine.pth").write_text(engines + "\n")
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        wanted = f"llama-cpp-python[server]=={VERSION}"
        try:
            run = subprocess.run(
                [*pip, "install", wanted],
                capture_output=True,
                text=True,
                check=False,
                timeout=_INSTALL_S,
            )
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"pip did not install {wanted} in {_INSTALL_S:.0f} s") from error
        if run.returncode:
            errors = [line for line in run.stderr.splitlines() if line.startswith("ERROR")]
            raise BenchError(f"pip could not install {wanted}: {errors[-1] if errors else '?'}")
        stamp.write_text(engines)
    return python
