"""Measures how long the threads of the decodes were ready to run and had no core.

The step thread and the threads that OpenMP starts for it carry one name, since a thread gets the
name of the one that starts it. All other threads of the process have names of their own
(`umad.engine.prctl.name_thread`). They are left out: some of them let others first, so they wait
for long beside the decode's own threads.

Only where the kernel tells waits (`umad.engine.process.tells_waits`). Owner: the step thread.
"""

import contextlib
import os
import threading

_TASKS = "/proc/self/task"
_OWN_NAME = "/proc/thread-self/comm"


class DecodeWaits:
    """To be made on the step thread, and called on it."""

    def __init__(self) -> None:
        self._name = _read(_OWN_NAME)
        # Threads that have a name of their own.
        self._others: set[str] = set()
        # The threads that OpenMP has started for the step thread, as of the last call.
        self.helpers: list[int] = []
        self._step_thread = threading.get_native_id()

    def __call__(self) -> int:
        """The time in ns that the living threads of the decodes had no core. It falls when one of
        them ends.

        The second field of schedstat (the kernel's Documentation/scheduler/sched-stats.rst).
        """
        total_ns, helpers = 0, list[int]()
        tasks = os.listdir(_TASKS)
        self._others.intersection_update(tasks)
        for task in tasks:
            if task in self._others:
                continue
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if _read(f"{_TASKS}/{task}/comm") != self._name:
                    self._others.add(task)
                    continue
                total_ns += int(_read(f"{_TASKS}/{task}/schedstat").split()[1])
                helpers.append(int(task))
        self.helpers = [one for one in helpers if one != self._step_thread]
        return total_ns


def _read(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 128)
    finally:
        os.close(file)
