"""Takes in long texts, chats and grammars on threads of its own, so other mail does not wait.

Tokenizing a text of megabytes takes seconds, and so does compiling a bad grammar. `fair_queue`
decides whose turn it is. Mail about such a request that comes meanwhile is held back, and handled
after the request has arrived; a cancellation is answered at once.
Not: what is done with a request (`umad.engine.mail.intake`). Threads: `put`, `ask`, `holds`, `drop`
and `drop_call` are the mailbox thread's.
"""

import threading
from collections.abc import Callable

from umad.engine.mail.fair_queue import FairQueue
from umad.engine.prctl import name_thread
from umad.engine.process import start_deep_thread
from umad.protocol.link import EngineCall, Submit, ToEngine

# While one thread is busy with a bad grammar, the other serves everybody else.
N_THREADS = 2
# An engine that does nothing but this says this often that it is alive.
ALIVE_NS = 1_000_000_000

# Delivers a request that has been taken in.
Deliver = Callable[[], None]


class LongIntake:
    """Takes in one engine's long requests and questions.

    take: takes a request in and returns how to deliver it; it may take seconds and raises nothing.
    answer: the same for a question. handle: handles mail that was held back. alive: called now and
    then, so that an engine which only does this is not silent.
    """

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
        # Bounded by the daemon's journal, and by the number of questions it asks at once.
        self._jobs: FairQueue[Submit | EngineCall] = FairQueue()
        self._held: dict[int, list[ToEngine]] = {}
        # Questions whose answer is still wanted.
        self._answering: set[int] = set()
        self._lock = threading.Lock()
        self._started = False
        self._alive_ns = 0

    def put(self, submit: Submit) -> None:
        """Take in a request."""
        with self._lock:
            self._held[submit.rid] = []
        self._start()
        self._jobs.put(("rid", submit.rid), submit, owner=submit.owner, app=submit.app)

    def ask(self, call: EngineCall) -> None:
        """Answer a question."""
        with self._lock:
            self._answering.add(call.call)
        self._start()
        owner, app = str(call.args.get("owner", "")), str(call.args.get("app", ""))
        self._jobs.put(("call", call.call), call, owner=owner, app=app)

    def holds(self, rid: int, message: ToEngine) -> bool:
        """Keep `message` until its request is taken in. Returns False where the request is not
        here.
        """
        if not self._held:
            return False
        with self._lock:
            mail = self._held.get(rid)
            if mail is None:
                return False
            mail.append(message)
            return True

    def drop(self, rid: int) -> bool:
        """Forget a request that was cancelled. Returns whether it was here."""
        if not self._held:
            return False
        with self._lock:
            mail = self._held.pop(rid, None)
        self._jobs.drop(("rid", rid))
        for message in mail or ():
            self._handle(message)  # the answer says that the request has gone
        return mail is not None

    def drop_call(self, call: int) -> bool:
        """Nobody waits for this answer any more. Returns whether the question was here."""
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
        # Under the lock: mail that comes now must be handled after the mail that was held back.
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
