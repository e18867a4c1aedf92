"""Starts, watches and ends another project's server that speaks HTTP on a Unix socket.

Not: the requests (`bench.peer_server`, `bench.python_server`). Owner: the process that measures;
the server lives and dies with its `HttpServer`.
"""

import abc
import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO

from typing_extensions import override

from bench import cache, running
from bench.errors import BenchError

_STOP_S = 10.0
_POST_S = 120.0


class HttpServer(abc.ABC):
    """One running server; `start` and `stop` block, each bounded in time."""

    def __init__(self, *, name: str, log_name: str, health: str, start_timeout_s: float) -> None:
        self._name = name
        self._health = health
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        # Not in the cache folder: a socket's path may be no longer than about 100 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="umad-bench-"))
        self.socket_path = self._folder / "http.sock"
        self.log_path = cache.folder("logs") / f"{log_name}.log"

    @abc.abstractmethod
    def command(self) -> tuple[list[str], dict[str, str] | None]:
        """The command line, and its environment where it is not this process's own."""

    def start(self) -> None:
        """Returns when the model is loaded; raises BenchError when that fails."""
        self._folder.mkdir(mode=0o700, exist_ok=True)  # `stop` has removed it
        self._log = self.log_path.open("wb")
        command, environment = self.command()
        try:
            self._process = subprocess.Popen(
                command, env=environment, stdout=self._log, stderr=self._log
            )
        except OSError as error:
            raise BenchError(f"{command[0]} did not start: {error.strerror}") from error
        deadline_s = time.perf_counter() + self._start_timeout_s
        while not self._healthy():
            if self._process.poll() is not None:
                raise BenchError(f"{self._name} ended while starting; see {self.log_path}")
            if time.perf_counter() > deadline_s:
                raise BenchError(
                    f"{self._name} was not ready after {self._start_timeout_s:.0f} s;"
                    f" see {self.log_path}"
                )
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise BenchError(f"{self._name} was not started")
        return self._process.pid

    def post(self, path: str, document: dict[str, object]) -> None:
        """Asks for something outside of what is measured; raises BenchError when it is refused."""
        with contextlib.closing(_UnixHttp(self.socket_path, timeout_s=_POST_S)) as connection:
            try:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", path, json.dumps(document), headers)
                response = connection.getresponse()
                said = response.read().decode(errors="replace")
            except (OSError, http.client.HTTPException) as error:
                raise BenchError(f"{self._name} does not answer {path}: {error}") from error
        if response.status != http.client.OK:
            raise BenchError(f"{self._name} refused {path}: {said[:300]}")

    def stop(self) -> None:
        """Ends the process (asked first, then killed) and removes the socket; may be repeated."""
        running.end(self._process, within_s=_STOP_S)
        if self._log is not None:
            self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _healthy(self) -> bool:
        with contextlib.closing(_UnixHttp(self.socket_path, timeout_s=2.0)) as connection:
            try:
                connection.request("GET", self._health)
                return connection.getresponse().status == http.client.OK
            except (OSError, http.client.HTTPException):
                return False


class _UnixHttp(http.client.HTTPConnection):
    """http.client over a Unix socket."""

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    @override
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
