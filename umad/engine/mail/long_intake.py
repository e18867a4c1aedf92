"""What takes long to take in, on threads of its own: long texts, chats, grammars.

A text of megabytes takes seconds to be tokenized and a bad grammar seconds to be compiled, and the
mail of others must not wait for that. Whose turn it is decides `fair_queue`. What comes about such
a request meanwhile is held back and handled behind its arrival; a cancellation is answered at once.
Not: what is done with a request (`umad.engine.mail.intake`). Threads: `put`, `ask`, `holds`, `drop`
and `drop_call` are the mailbox thread's.
"""

import threading
from collections.abc import Callable

from umad.engine.mail.fair_queue import FairQueue
from umad.engine.process import name_thread, start_deep_thread
from umad.protocol.link import EngineCall, Submit, ToEngine

# One that is busy with a bad grammar leaves another for everybody else.
N_THREADS = 2
# How often an engine that only does this says that it is alive.
ALIVE_NS = 1_000_000_000

# What is to be done with a request once it is taken in, and with the mail that was held back.
Deliver = Callable[[], None]


class LongIntake:
    """take: takes a request in and says how to deliver it; may take seconds, raises nothing.
    answer: the same for a question. handle: what is done with mail that was held back. alive:
    called now and then, so that an engine which only does this is not silent."""

    def __init__(
        self,
        *,
        take: Callable[[Submit], Deliver],
        answer: Callable[[EngineCall], Deliver],
        handle: Callable[[ToEngine], None],
        alive: Callable[[], None],
        now_ns: Callable[[], int],
    ) -> None:
        self._take = take
        self._answer = answer
        self._handle = handle
        self._alive = alive
        self._now_ns = now_ns
        # Bounded by the daemon's journal, and by the questions it has at once.
        self._jobs: FairQueue[Submit | EngineCall] = FairQueue()
        self._held: dict[int, list[ToEngine]] = {}
        # Questions that somebody waits for the answer of.
        self._answering: set[int] = set()
        self._lock = threading.Lock()
        self._started = False
        self._alive_ns = 0

    def put(self, submit: Submit) -> None:
        """Take on a request."""
        with self._lock:
            self._held[submit.rid] = []
        self._start()
        self._jobs.put(("rid", submit.rid), submit, owner=submit.owner, app=submit.app)

    def ask(self, call: EngineCall) -> None:
        """Take on a question."""
        with self._lock:
            self._answering.add(call.call)
        self._start()
        owner, app = str(call.args.get("owner", "")), str(call.args.get("app", ""))
        self._jobs.put(("call", call.call), call, owner=owner, app=app)

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
        if not self._held:
            return False
        with self._lock:
            mail = self._held.pop(rid, None)
        self._jobs.drop(("rid", rid))
        for message in mail or ():
            self._handle(message)  # it is answered as one that comes too late
        return mail is not None

    def drop_call(self, call: int) -> bool:
        """Nobody waits for this answer any more; whether it was here."""
        with self._lock:
            if call not in self._answering:
                return False
            self._answering.discard(call)
        self._jobs.drop(("call", call))
        return True

    def _start(self) -> None:
        if not self._started:
            self._started = True
            for _ in range(N_THREADS):
                start_deep_thread(self._run, "umad-intake")

    def _run(self) -> None:
        name_thread("umad-intake")
        while True:
            ticket = self._jobs.take()
            began_ns = self._now_ns()
            if began_ns - self._alive_ns >= ALIVE_NS:
                self._alive_ns = began_ns
                self._alive()
            try:
                if isinstance(ticket.job, Submit):
                    self._do(ticket.job)
                else:
                    self._reply(ticket.job)
            finally:
                self._jobs.done(ticket, (self._now_ns() - began_ns) // 1000)

    def _do(self, submit: Submit) -> None:
        if submit.rid not in self._held:
            return
        deliver = self._take(submit)
        # Under the lock: what comes now has to stand behind what was held back.
        with self._lock:
            mail = self._held.pop(submit.rid, None)
            if mail is None:
                return
            deliver()
            for message in mail:
                self._handle(message)

    def _reply(self, call: EngineCall) -> None:
        if call.call not in self._answering:
            return
        deliver = self._answer(call)
        with self._lock:
            if call.call not in self._answering:
                return
            self._answering.discard(call.call)
        deliver()
