"""Waits for what a download does, with a bound."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from umad.models.fetching.progress import FetchProgress

MOST_S = 60.0


class StopHere(Exception):
    """The test has seen enough."""


def wait_until(is_so: Callable[[], bool]) -> None:
    """Return when `is_so`; fail when it never is."""
    until = time.monotonic() + MOST_S
    while not is_so():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.005)


@contextmanager
def closed_port() -> Iterator[int]:
    """A port of loopback on which nobody listens, nor can meanwhile: it is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


class Watch:
    """For `on_progress`: notes what has come, and when, and ends the download once `least_bytes`
    are there and `least_s` have passed.
    """

    def __init__(self, least_s: float, least_bytes: int) -> None:
        self.n_bytes, self.took_s = 0, 0.0
        self._least_s, self._least_bytes = least_s, least_bytes
        self._began_s = time.monotonic()

    def __call__(self, progress: FetchProgress) -> None:
        self.n_bytes, self.took_s = progress.done_bytes, time.monotonic() - self._began_s
        if self.took_s > self._least_s and self.n_bytes > self._least_bytes:
            raise StopHere
