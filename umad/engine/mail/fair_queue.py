"""Work that takes long, done by a few threads in a fair order.

Of those who have some waiting, the one is next that was served least
(`scheduler.queue.token_counters`: by owner, then by app), and one app has one thread at a time:
whoever hands in much, or what takes very long, makes only itself wait. Within an app the order
stays. Threads: any.
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
    """An app's jobs by their names, in order. busy: one of them is being done."""

    account: Account
    jobs: "OrderedDict[Hashable, J]" = field(default_factory=OrderedDict)
    busy: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Ticket(Generic[J]):
    """A job that is being done. name: it was put under; whose: (owner, app)."""

    job: J
    name: Hashable
    whose: tuple[str, str]


class FairQueue(Generic[J]):
    """Jobs that wait. How many there may be is the bound of whoever puts them."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], _Line[J]] = {}
        self._whose: dict[Hashable, tuple[str, str]] = {}
        self._counters = TokenCounters()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._whose)

    def put(self, name: Hashable, job: J, *, owner: str, app: str) -> None:
        """Add one; `name` is not taken."""
        whose = (owner, app)
        with self._changed:
            account = self._counters.enter(owner, app)
            line = self._lines.setdefault(whose, _Line(account))
            line.jobs[name] = job
            self._whose[name] = whose
            self._changed.notify()

    def drop(self, name: Hashable) -> bool:
        """Take one out that nobody wants any more; whether it still waited."""
        with self._changed:
            whose = self._whose.pop(name, None)
            if whose is None:
                return False
            del self._lines[whose].jobs[name]
            self._left(whose)
            return True

    def take(self) -> Ticket[J]:
        """The next job; waits for one. Tell `done` afterwards."""
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
        """It is done, and took so many microseconds of a thread."""
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
