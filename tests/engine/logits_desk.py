"""A step loop and the clients that read its logits or choose its tokens, in one thread."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.engine.served_loop import FakeRunner, arrival, counting, on_small_pool
from umad.engine.logits.readers import LogitsReader, Ring
from umad.engine.logits.shared_pages import open_read_only
from umad.engine.mail.step_mail import Arrival, AttachRing, StepMail
from umad.engine.mail.step_news import News, report
from umad.protocol.link import Attached, Choose, EngineReply, FromEngine, StepReport, Stop
from umad.request import LogitsUse
from umad.sampling.ring import RingLayout, RingReader

CHOICE_S = 5.0
Answer = Callable[["Desk", int, int], object]


def reading(rid: int, use: LogitsUse, **options: Any) -> Arrival:
    came = arrival(rid, **options)
    came.stream.reader = LogitsReader(use)
    return came


def attach(rid: int, ring: Ring, *, call: int = 1, choose: bool = False) -> AttachRing:
    return AttachRing(call=call, rid=rid, choose=choose, ring=ring)


@dataclass
class Desk:
    """A loop whose clients answer each row at once, with mail or with nothing.

    answer: (desk, rid, position) -> mail, or None for a client that says nothing.
    """

    answer: Answer = lambda desk, rid, position: None
    n_cells: int = 512
    # How much time passes with each look at the clock.
    tick_ns: Callable[["Desk"], int] = lambda desk: 1000
    # Whether the daemon tells the engine that a client has its ring.
    passes_rings_on: bool = True
    # What else happens after each report.
    then: Callable[["Desk"], None] = lambda desk: None
    inbox: StepMail = field(default_factory=StepMail)
    runner: FakeRunner = field(default_factory=lambda: FakeRunner(counting))
    reports: list[StepReport] = field(default_factory=list)
    replies: list[EngineReply] = field(default_factory=list)
    order: list[tuple[int, int]] = field(default_factory=list)
    now_ns: int = 0
    attaching: dict[int, int] = field(default_factory=dict)

    def serve(self, *mail: object) -> None:
        self.attaching = {one.call: one.rid for one in mail if isinstance(one, AttachRing)}
        for one in (*mail, Stop()):
            self.inbox.put(one)  # type: ignore[arg-type]
        on_small_pool(
            self.runner,
            inbox=self.inbox,
            hear=self._hear,
            now_ns=self._look_at_the_clock,
            n_cells=self.n_cells,
            choice_s=CHOICE_S,
        ).run()

    def _look_at_the_clock(self) -> int:
        self.now_ns += self.tick_ns(self)
        return self.now_ns

    def _hear(self, message: News | FromEngine) -> None:
        if isinstance(message, EngineReply):
            self.replies.append(message)
            if message.error is None and self.passes_rings_on:
                self.inbox.put(Attached(rid=self.attaching[message.call]))
            return
        assert isinstance(message, News)
        heard = report(message)
        self.reports.append(heard)
        for rid, position in heard.logits:
            said = self.answer(self, rid, position)
            if said is not None:
                self.inbox.put(said)  # type: ignore[arg-type]
        self.order += [(one.rid, token) for one in heard.emitted for token in one.ids]
        self.then(self)

    def ids(self, rid: int) -> list[int]:
        return [token for one, token in self.order if one == rid]

    def rows(self, rid: int) -> list[int]:
        return [at for report in self.reports for one, at in report.logits if one == rid]

    def reason(self, rid: int) -> str:
        """How it ended, or the code and message of its error."""
        for one in self.reports:
            for ended in one.ended:
                if ended.rid == rid:
                    return ended.reason
            for rejected in one.rejected:
                if rejected.rid == rid:
                    return f"{rejected.code}: {rejected.message}"
        raise AssertionError(f"{rid} never ended")

    @property
    def counts(self) -> tuple[int, int]:
        """(sampled, copied) from the engine's start."""
        stats = [report.stats for report in self.reports if report.stats is not None]
        return stats[-1].sampled_total, stats[-1].copied_rows_total


def seen(ring: Ring) -> RingReader:
    """The ring as its client has it."""
    layout = RingLayout.of_map(ring.facts)
    fd = open_read_only(ring.facts["handle"])
    try:
        return RingReader(layout, memoryview(os.pread(fd, layout.n_bytes, 0)))
    finally:
        os.close(fd)


def likeliest(ring: Ring) -> Answer:
    """A client that does what the engine would: the best token of each row."""

    def answer(desk: Desk, rid: int, position: int) -> Choose:
        token = int(seen(ring).row(position).argmax())
        return Choose(rid=rid, position=position, token=token)

    return answer
