"""Waits for what a download does, with a bound."""

import time
from collections.abc import Callable

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


def stop_after_s(seconds: float, seen: list[FetchProgress]) -> Callable[[FetchProgress], None]:
    """For `on_progress`: keeps what is told, and ends the download after a time."""
    began = time.monotonic()

    def told(progress: FetchProgress) -> None:
        seen.append(progress)
        if time.monotonic() - began > seconds:
            raise StopHere

    return told
