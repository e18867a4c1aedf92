"""Starts contenders together, lets them take turns, and ends them whatever happens.

Not: what they are (`targets`, `contenders`). Owner: the process that measures.
"""

import contextlib
import signal
import subprocess
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from bench import precedence

T = TypeVar("T")


class Startable(Protocol):
    """A server, as far as its life goes."""

    def start(self) -> None:
        """Blocks until it can be asked. Raises `BenchError`."""
        ...

    def stop(self) -> None:
        """Ends it; also one that was never started, or was stopped before."""
        ...


@contextlib.contextmanager
def started(servers: Sequence[Startable]) -> Iterator[None]:
    """All of them, for the length of a block; where this process goes before others, they do."""
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.callback(server.stop)
        for server in servers:
            server.start()
        precedence.include_children()
        yield


def in_turn(contenders: Sequence[T], turn: int) -> list[T]:
    """All of them, another one first each time: what drifts on the machine falls on none alone."""
    first = turn % len(contenders)
    return [*contenders[first:], *contenders[:first]]


def end(process: subprocess.Popen[bytes] | None, *, within_s: float) -> None:
    """Ask it to end, then kill it; nothing where it has ended, or never was."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(within_s)
