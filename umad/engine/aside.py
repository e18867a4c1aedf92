"""Runs parts of a load so that nobody who waits for another engine's tokens feels them.

A step of llama.cpp waits for its slowest thread, so a process that takes one core makes every step
of another engine longer. A part runs in a thread of its own, and the thread that asked for it looks
at the other engines meanwhile. When one of them has interactive work, the part runs on idle cores
alone (SCHED_IDLE, sched(7)). A thread cannot take that back without privileges. So parts are short,
and the next one begins as usual: background work may begin to use all cores at any time. Linux
alone can set this for one thread; elsewhere all parts run as usual.

The lowest priority (niceness 19) is not enough. Since Linux 6.6 a thread that wakes waits until the
running one has had its slice, whatever its niceness; only a thread of SCHED_IDLE gives its core up
at once. Measured on two cores, Linux 6.18, a decode of two threads beside two busy programs: p95 of
a token 17 and 20 ms beside SCHED_IDLE, 30 and 26 beside niceness 19, 17 to 19 alone.

    python -m umad.engine.aside MODULE [ARGUMENT]…

imports a module like that, and then runs its `main` as usual.

Imports next to nothing, because the first parts are the imports. Not: which parts these are
(`umad.engine.start`, `umad.engine.company`).
"""

import contextlib
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

_Result = TypeVar("_Result")
# How often the other engines are looked at. A step of a small model takes a few milliseconds.
LOOK_S = 0.005
# A thread that steps back rests so long. Else Linux still owes it the time that it has waited for
# as an equal, and pays first: it had four fifths of a core for 100 ms and more, and the steps of a
# chat took 40 to 70 ms instead of 16, in 6 of 8 cases; in 1 of 8 after such a rest (Linux 6.18).
REST_S = 0.03


def take_only_idle_cores() -> None:
    """Let the calling thread run only on idle cores. Only Linux can set that for one thread."""
    if sys.platform == "linux":
        _step_back({threading.get_native_id()})
        time.sleep(REST_S)


def step_back() -> None:
    """Let all of this process run only on idle cores, for the rest of its life."""
    if sys.platform == "linux":
        _step_back(_threads())
        time.sleep(REST_S)


def run_aside(part: Callable[[], _Result], *, is_busy: Callable[[], bool]) -> _Result:
    """Run a part and return what it returns, or raise what it raises. It may not leave threads
    behind, because those that it starts step back with it.

    is_busy: says whether another engine has interactive work now.
    """
    if sys.platform != "linux":
        return part()
    results: list[_Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        if is_busy():
            take_only_idle_cores()
        try:
            results.append(part())
        except BaseException as error:  # noqa: BLE001  # the thread that asked raises it
            errors.append(error)

    before = _threads()
    thread = threading.Thread(target=run, name="umad-aside")
    thread.start()
    while thread.is_alive():
        if is_busy():
            _step_back(_threads() - before)
            thread.join()
        thread.join(LOOK_S)
    if errors:
        raise errors[0]
    return results[0]


def _threads() -> set[int]:
    """The kernel's numbers of this process's threads."""
    return {int(name) for name in os.listdir("/proc/self/task")}


def _step_back(threads: set[int]) -> None:
    if sys.platform != "linux":  # only Linux's Python has these names
        return
    for thread in threads:
        with contextlib.suppress(OSError):  # it has ended, or a sandbox forbids it
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def main(arguments: Sequence[str]) -> int:
    """Import `arguments[0]` on idle cores alone, and run it. Returns its exit status."""
    module = run_aside(lambda: importlib.import_module(arguments[0]), is_busy=lambda: True)
    status: int = module.main(arguments[1:])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
