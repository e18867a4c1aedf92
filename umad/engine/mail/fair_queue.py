"""Shares a few threads fairly among apps whose work takes long.

Of the apps with waiting jobs, the one that was served least is next
(`scheduler.queue.token_counters`: by owner, then by app). One app has one thread at a time. So an
app that hands in many jobs, or a job that takes very long, makes only itself wait. Within an app
the order stays. Threads: any.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from umad.scheduler.queue.token_counters import Account, TokenCounters

J = TypeVar("J")


@dataclass(slots=True, eq=False)
class _Line(Generic[J]):
    """The jobs of one app."""

    account: Account
    # By name, in the order they came.
    jobs: "OrderedDict[Hashable, J]" = field(default_factory=OrderedDict)
    # A thread is doing one of the jobs.
    busy: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Ticket(Generic[J]):
    """A job that is being done."""

    job: J
    # The name it was put under.
    name: Hashable
    # (owner, app).
    whose: tuple[str, str]


class FairQueue(Generic[J]):
    """Jobs that wait. Whoever puts them has to bound their number."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], _Line[J]] = {}
        self._whose: dict[Hashable, tuple[str, str]] = {}
        self._counters = TokenCounters()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._whose)

    def put(self, name: Hashable, job: J, *, owner: str, app: str) -> None:
        """Add a job; no other may have this `name`."""
        whose = (owner, app)
        with self._changed:
            account = self._counters.enter(owner, app)
            line = self._lines.setdefault(whose, _Line(account))
            line.jobs[name] = job
            self._whose[name] = whose
            self._changed.notify()

    def drop(self, name: Hashable) -> bool:
        """Take out a job whose result nobody wants any more. Returns whether it still waited."""
        with self._changed:
            whose = self._whose.pop(name, None)
            if whose is None:
                return False
            del self._lines[whose].jobs[name]
            self._left(whose)
            return True

    def take(self) -> Ticket[J]:
        """The next job; waits for one. Call `done` when it is done."""
        with self._changed:
            while True:
                ready = [
                    (line.account.turn, whose)
                    for whose, line in self._lines.items()
                    if line.jobs and not line.busy
                ]
                if ready:
                    break
                self._changed.wait()
            _, whose = min(ready)
            line = self._lines[whose]
            name, job = line.jobs.popitem(last=False)
            del self._whose[name]
            line.busy = True
            return Ticket(job, name, whose)

    def done(self, ticket: Ticket[J], took_us: int) -> None:
        """The job is done, and took so many microseconds of a thread."""
        with self._changed:
            line = self._lines[ticket.whose]
            line.busy = False
            line.account.charge(max(1, took_us))
            self._left(ticket.whose)
            self._changed.notify()

    def _left(self, whose: tuple[str, str]) -> None:
        line = self._lines[whose]
        self._counters.leave(*whose)
        if not line.jobs and not line.busy:
            del self._lines[whose]
