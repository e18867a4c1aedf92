"""Measures how soon a killed daemon is back for a client that asks again.

A stand-in for a service manager listens on the daemon's socket, as umad's unit has it, and starts
the daemon again so long after its death as the unit says (`RestartSec`). The daemon is killed with
SIGKILL while it writes; the client that had it asks on. Two times from the kill on: until the
daemon has answered at all, and until the first token of a model. Programs that want the cores may
run beside it. Not: systemd itself, which the tests of `tests/system_service` run. Owner: the
process that measures.
"""

import argparse
import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from bench import busy, cache, command, models, running
from bench.errors import BenchError
from bench.table import Spread
from umad.client import Client, ClientOptions
from umad.errors import ConnectionLost, UmadError
from umad.system_service.systemd_units import BACKLOG, RESTART_MS

# Longer, and an editor shows that nobody is there.
MOST_S = 2.0
_PATIENCE_S = 120.0
_STOP_S = 40.0
_OPTIONS = ClientOptions(name="bench", connect_s=_PATIENCE_S, return_s=_PATIENCE_S)
# LISTEN_PID is known only in the process itself, which then becomes the daemon.
_HANDED = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); "
    "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Comebacks:
    """Seconds from each kill on."""

    answered_s: tuple[float, ...]
    first_token_s: tuple[float, ...]


class _Keeper:
    """Keeps a daemon on a socket that it listens on itself."""

    def __init__(self, model: Path, threads: int, folder: Path) -> None:
        self.socket_path = folder / "umad.sock"
        configuration = folder / "defaults.yaml"  # not the one of whoever measures
        configuration.touch()
        self._command = [
            *("-m", "umad", "serve", str(model), "--config", str(configuration)),
            *("--socket", str(self.socket_path), "--threads", str(threads)),
            "--until-stdin-closes",
        ]
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind(os.fspath(self.socket_path))
        self._sock.listen(BACKLOG)
        self._log = (cache.folder("logs") / "comeback.log").open("wb")
        self._process = self._started()

    def kill_and_restart(self) -> None:
        """SIGKILL, then another daemon."""
        self._process.kill()
        self._process.wait()
        self._close_stdin()
        time.sleep(RESTART_MS / 1000)
        self._process = self._started()

    def close(self) -> None:
        running.end(self._process, within_s=_STOP_S)
        self._close_stdin()
        self._sock.close()
        self._log.close()

    def _started(self) -> subprocess.Popen[bytes]:
        fd = self._sock.fileno()
        return subprocess.Popen(
            [sys.executable, "-c", _HANDED, str(fd), *self._command],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            pass_fds=(fd,),
            cwd=Path(__file__).resolve().parent.parent,
            env={key: value for key, value in os.environ.items() if not key.startswith("UMAD_")},
        )

    def _close_stdin(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()


@contextmanager
def _kept(model: Path, threads: int) -> Iterator[_Keeper]:
    # Below /tmp, since a socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="umad-bench-", dir="/tmp") as folder:
        keeper = _Keeper(model, threads, Path(folder))
        try:
            yield keeper
        finally:
            keeper.close()


def measure(keeper: _Keeper, client: Client, times: int) -> Comebacks:
    """Kill so many daemons while they write."""
    answered, first_token = [], []
    for _ in range(times):
        pieces = client.text("def f", max_tokens=1500, ignore_eos=True, fit=True)
        next(pieces)
        began_ns = time.perf_counter_ns()
        keeper.kill_and_restart()
        with contextlib.suppress(ConnectionLost):  # what ran is lost
            for _ in pieces:
                pass
        client.ping()
        answered.append((time.perf_counter_ns() - began_ns) / 1e9)
        client.complete("def f", max_tokens=1, ignore_eos=True)
        first_token.append((time.perf_counter_ns() - began_ns) / 1e9)
    return Comebacks(answered_s=tuple(answered), first_token_s=tuple(first_token))


def table(found: Comebacks, beside: int = 0) -> Table:
    """To print; beside: programs that wanted the cores."""
    drawn = Table(
        title=f"seconds from kill -9 on, {len(found.answered_s)} times",
        caption=f"beside {beside} busy programs",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for name in ("", "median", "longest"):
        drawn.add_column(name, justify="right", no_wrap=True)
    for name, times_s in (("answered", found.answered_s), ("first token", found.first_token_s)):
        spread = Spread.of(times_s)
        drawn.add_row(name, f"{spread.median:.2f}", f"{spread.high:.2f}")
    return drawn


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the table. Fails where a daemon was back too late."""
    model = models.path(options.model)
    try:
        with (
            busy.programs(options.busy),
            _kept(model, options.threads) as keeper,
            Client(keeper.socket_path, options=_OPTIONS) as client,
        ):
            found = measure(keeper, client, options.repetitions)
    except UmadError as error:
        raise BenchError(f"umad did not come back: {error}") from error
    console.print(table(found, options.busy))
    command.write(
        options,
        {
            "benchmark": "comeback",
            "model": model.stem,
            "busy": options.busy,
            **dataclasses.asdict(found),
        },
    )
    longest_s = max(found.answered_s)
    if longest_s > options.most:
        raise BenchError(f"it was back after {longest_s:.2f} s; {options.most} are allowed")


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("comeback", __doc__, model="nano")
    add = parser.add_argument
    add("--repetitions", type=command.positive, default=10, help="daemons that are killed")
    add("--busy", type=command.positive, default=0, help="programs beside it that compute for ever")
    add("--most", type=float, default=MOST_S, help="seconds to an answer that are allowed")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
