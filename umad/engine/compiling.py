"""Requests whose answers have to keep to a grammar, taken on threads of their own.

To compile a grammar takes milliseconds, or seconds where somebody hands in a bad one, and mail of
others must not wait for that. What comes about such a request meanwhile is held back and handled
behind its arrival; a cancellation is answered at once.
Not: what is compiled (`umad.engine.guidance`). Threads: `put`, `holds` and `drop` are the mailbox
thread's.
"""

import queue
import threading
from collections.abc import Callable

from umad.engine.process import name_thread, start_deep_thread
from umad.protocol.link import Submit, ToEngine

# One that is busy with a bad grammar leaves another for everybody else.
N_THREADS = 2

# What is to be done with a request once it is compiled, and with the mail that was held back.
Deliver = Callable[[], None]


class Compiling:
    """take: compiles a request and says how to deliver it; may take seconds, raises nothing.
    handle: what is done with mail that was held back. alive: called before each request, so that
    an engine which only compiles is not silent."""

    def __init__(
        self,
        *,
        take: Callable[[Submit], Deliver],
        handle: Callable[[ToEngine], None],
        alive: Callable[[], None],
    ) -> None:
        self._take = take
        self._handle = handle
        self._alive = alive
        # Bounded by the daemon's journal.
        self._submits: queue.SimpleQueue[Submit] = queue.SimpleQueue()
        self._held: dict[int, list[ToEngine]] = {}
        self._lock = threading.Lock()
        self._started = False

    def put(self, submit: Submit) -> None:
        """Take on a request."""
        if not self._started:
            self._started = True
            for _ in range(N_THREADS):
                start_deep_thread(self._run, "umad-grammars")
        with self._lock:
            self._held[submit.rid] = []
        self._submits.put(submit)

    def holds(self, rid: int, message: ToEngine) -> bool:
        """Whether the request is here still; then the message waits for it."""
        if not self._held:
            return False
        with self._lock:
            mail = self._held.get(rid)
            if mail is None:
                return False
            mail.append(message)
            return True

    def drop(self, rid: int) -> bool:
        """Forget a request that was cancelled; whether it was here."""
        with self._lock:
            mail = self._held.pop(rid, None)
        for message in mail or ():
            self._handle(message)  # it is answered as one that comes too late
        return mail is not None

    def _run(self) -> None:
        name_thread("umad-grammars")
        while True:
            submit = self._submits.get()
            if submit.rid not in self._held:
                continue
            self._alive()
            deliver = self._take(submit)
            # Under the lock: what comes now has to stand behind what was held back.
            with self._lock:
                mail = self._held.pop(submit.rid, None)
                if mail is None:
                    continue
                deliver()
                for message in mail:
                    self._handle(message)
