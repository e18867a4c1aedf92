"""Requests that take long to take in, beside everybody else's mail."""

import queue
import threading
from collections.abc import Callable
from dataclasses import replace

from tests.engine.harness import submit
from umad.engine.mail.long_intake import Deliver, LongIntake
from umad.protocol.link import CancelOrder, EngineCall, SetLane, Submit, ToEngine

WAIT_S = 60.0
NOW_NS = 10**12


class Workshop:
    """Compiles a request when it is told to, and notes what is delivered and handled. Its clock
    stands still."""

    def __init__(self) -> None:
        self.done: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.begun: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.may_end: dict[int, threading.Event] = {}
        self.n_alive = 0
        self.intake = LongIntake(
            take=self._take,
            answer=self._answer,
            handle=self._handle,
            alive=self._alive,
            now_ns=lambda: NOW_NS,
        )

    def put(self, rid: int, app: str | None = None) -> None:
        self.may_end[rid] = threading.Event()
        self.intake.put(replace(submit(rid), app=app or f"app{rid}"))

    def next_done(self) -> object:
        return self.done.get(timeout=WAIT_S)

    def next_begun(self) -> int:
        return self.begun.get(timeout=WAIT_S)

    def _take(self, order: Submit) -> Callable[[], None]:
        self.begun.put(order.rid)
        assert self.may_end[order.rid].wait(WAIT_S)
        return lambda: self.done.put(order.rid)

    def _answer(self, call: EngineCall) -> Deliver:
        self.begun.put(call.call)
        assert self.may_end[call.call].wait(WAIT_S)
        return lambda: self.done.put(call)

    def _handle(self, message: ToEngine) -> None:
        self.done.put(message)

    def _alive(self) -> None:
        self.n_alive += 1


def test_mail_about_a_request_waits_until_its_grammar_is_compiled() -> None:
    workshop = Workshop()
    moved = SetLane(rid=1, lane="background")
    workshop.put(1)

    waits = workshop.intake.holds(1, moved)
    passes = not workshop.intake.holds(2, SetLane(rid=2, lane="background"))
    workshop.may_end[1].set()

    assert waits
    assert passes
    assert [workshop.next_done(), workshop.next_done()] == [1, moved]
    assert not workshop.intake.holds(1, moved)


def test_a_bad_grammar_leaves_a_thread_for_others() -> None:
    workshop = Workshop()
    workshop.put(1)
    assert workshop.next_begun() == 1
    workshop.put(2)

    workshop.may_end[2].set()

    assert workshop.next_done() == 2
    workshop.may_end[1].set()
    assert workshop.next_done() == 1
    assert workshop.n_alive == 1  # once a second


def test_a_request_that_was_cancelled_meanwhile_never_arrives() -> None:
    workshop = Workshop()
    moved = SetLane(rid=1, lane="background")
    workshop.put(1)
    assert workshop.next_begun() == 1
    workshop.intake.holds(1, moved)

    dropped = workshop.intake.drop(1)
    workshop.may_end[1].set()
    workshop.put(2)
    workshop.may_end[2].set()

    assert dropped
    assert not workshop.intake.drop(1)
    assert not workshop.intake.holds(1, CancelOrder(rid=1))
    assert [workshop.next_done(), workshop.next_done()] == [moved, 2]
