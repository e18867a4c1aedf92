"""Runs parts of a load so that nobody who waits for another engine's tokens feels them.

A step of llama.cpp waits for its slowest thread, so a process that takes one core makes every step
of another engine longer. A part runs in a thread of its own, and the thread that asked for it looks
at the other engines meanwhile. When one of them has interactive work, the part gets the lowest
priority. A thread cannot raise its priority again without privileges. So parts are short, and the
next one begins at the usual priority: background work may begin to use all cores at any time.
Linux alone can set the priority of one thread; elsewhere all parts run as usual.

    python -m umad.engine.aside MODULE [ARGUMENT]…

imports a module like that, and then runs its `main` as usual.

Imports next to nothing, because the first parts are the imports. Not: which parts these are
(`umad.engine.start`, `umad.engine.company`).
"""

import importlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

_Result = TypeVar("_Result")
_LEAST_PRIORITY = 19
# How often the other engines are looked at. A step of a small model takes a few milliseconds.
LOOK_S = 0.005


def take_only_idle_cores() -> None:
    """Let the calling thread run only on idle cores. Only Linux can set that for one thread."""
    if sys.platform == "linux":
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST_PRIORITY)
        except OSError:  # a sandbox that forbids it
            return


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
    for thread in threads:
        try:
            os.setpriority(os.PRIO_PROCESS, thread, _LEAST_PRIORITY)
        except OSError:  # it has ended, or a sandbox forbids it
            continue


def main(arguments: Sequence[str]) -> int:
    """Import `arguments[0]` on idle cores alone, and run it. Returns its exit status."""
    module = run_aside(lambda: importlib.import_module(arguments[0]), is_busy=lambda: True)
    status: int = module.main(arguments[1:])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
