"""Runs parts of a load so that nobody who waits for another engine's tokens feels them.

A step of llama.cpp waits for its slowest thread, so a process that takes one core makes every step
of another engine longer. While another engine has interactive work, a part runs in a thread of the
lowest priority, and its caller waits. A thread cannot raise its priority again without privileges.
So each part gets a thread of its own, and is short: background work may begin to use all cores
while it runs. Linux alone can set the priority of one thread; elsewhere all parts run as usual.

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


def take_only_idle_cores() -> None:
    """Let the calling thread run only on idle cores. Only Linux can set that for one thread."""
    if sys.platform == "linux":
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST_PRIORITY)
        except OSError:  # a sandbox that forbids it
            return


def run_aside(part: Callable[[], _Result], *, is_busy: bool) -> _Result:
    """Run a part and return what it returns, or raise what it raises.

    is_busy: another engine has interactive work now.
    """
    if not is_busy or sys.platform != "linux":
        return part()
    results: list[_Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        take_only_idle_cores()
        try:
            results.append(part())
        except BaseException as error:  # noqa: BLE001  # the calling thread raises it
            errors.append(error)

    thread = threading.Thread(target=run, name="umad-aside")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def main(arguments: Sequence[str]) -> int:
    """Import `arguments[0]` on idle cores alone, and run it. Returns its exit status."""
    module = run_aside(lambda: importlib.import_module(arguments[0]), is_busy=True)
    status: int = module.main(arguments[1:])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
