"""Completions whose clients read logits or choose tokens: who waits for whom, and for how long."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tests.engine.test_loop import FakeRunner, arrival, counting
from umad.config import SchedulerSettings, Settings
from umad.engine.facts import StepTraffic
from umad.engine.inbox import Arrival, AttachRing, Inbox
from umad.engine.loop import StepLoop
from umad.engine.news import News, report
from umad.engine.reading import MOST_RINGS, Reader, Ring
from umad.engine.shared_pages import open_read_only
from umad.models.sizes import WeightBytes
from umad.protocol.link import (
    Attached,
    Cancel,
    Choose,
    FromEngine,
    Pause,
    Reply,
    Resume,
    StepReport,
    Stop,
)
from umad.request import INTERACTIVE, LogitsUse
from umad.sampling.allowed import Allowed
from umad.sampling.ring import RingLayout, RingReader
from umad.scheduler import Scheduler

N_VOCAB = 32
CHOICE_S = 5.0
Answer = Callable[["Desk", int, int], object]


def reading(rid: int, use: LogitsUse, **options: Any) -> Arrival:
    came = arrival(rid, **options)
    came.stream.reader = Reader(use)
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
    inbox: Inbox = field(default_factory=Inbox)
    runner: FakeRunner = field(default_factory=lambda: FakeRunner(counting))
    reports: list[StepReport] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    order: list[tuple[int, int]] = field(default_factory=list)
    now_ns: int = 0
    attaching: dict[int, int] = field(default_factory=dict)

    def serve(self, *mail: object) -> None:
        loop = StepLoop(
            scheduler=Scheduler(
                n_cells=self.n_cells,
                max_seqs=4,
                batch_tokens=64,
                settings=SchedulerSettings(),
                latency_cap=1.2,
                lanes=Settings().qos,
            ),
            runner=self.runner,
            inbox=self.inbox,
            emit=self._hear,
            traffic=StepTraffic(
                weights=WeightBytes(dense=1), kv_cell_bytes=1, n_vocab=N_VOCAB, ubatch=64
            ),
            guarded=frozenset({INTERACTIVE}),
            now_ns=self._now_ns,
            choice_s=CHOICE_S,
        )
        self.attaching = {one.call: one.rid for one in mail if isinstance(one, AttachRing)}
        for one in (*mail, Stop()):
            self.inbox.put(one)  # type: ignore[arg-type]
        loop.run()

    def _now_ns(self) -> int:
        self.now_ns += 1000
        return self.now_ns

    def _hear(self, message: News | FromEngine) -> None:
        if isinstance(message, Reply):
            self.replies.append(message)
            if message.error is None:
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


def test_nobody_attached_nothing_copied() -> None:
    desk = Desk()
    desk.serve(arrival(1), arrival(2))

    assert desk.counts == (12, 0)
    assert desk.rows(1) == desk.rows(2) == []


class TopHalf:
    """A mask: only the upper half of the vocabulary may be drawn, from the second token on."""

    def __init__(self) -> None:
        self._n = 0

    def allowed(self) -> Allowed | None:
        return Allowed.only(np.arange(N_VOCAB // 2, N_VOCAB), N_VOCAB) if self._n else None

    def accept(self, token: int) -> None:
        self._n += 1


def test_a_row_under_a_mask_is_not_copied_for_it_and_one_that_is_shown_counts_once() -> None:
    masked, both = arrival(1), reading(2, "read")
    for came in (masked, both):
        came.stream.mask = TopHalf()  # type: ignore[assignment]
    desk = Desk()
    desk.serve(masked, both, attach(2, Ring(N_VOCAB)), arrival(3))

    assert desk.counts == (18, 6), "those shown"
    assert desk.ids(1)[0] == 15
    assert min(desk.ids(1)[1:]) >= N_VOCAB // 2


def test_a_reader_gets_every_row_and_the_tokens_are_those_of_an_unread_request() -> None:
    ring = Ring(N_VOCAB)
    kept: dict[int, int] = {}

    def look(desk: Desk, rid: int, position: int) -> None:
        kept[position] = int(seen(ring).row(position).argmax())

    desk = Desk(answer=look)
    desk.serve(reading(1, "read"), arrival(2), attach(1, ring))

    assert desk.ids(1) == desk.ids(2) == [kept[position] for position in range(6)]
    assert desk.rows(1) == list(range(6))
    assert desk.counts == (12, 6), "one row copied for each of its tokens, none for the other's"
    assert desk.reason(1) == "length"


def test_a_client_that_chooses_the_likeliest_gets_what_the_engine_would_have_drawn() -> None:
    ring = Ring(N_VOCAB)
    desk = Desk(answer=likeliest(ring))
    desk.serve(reading(1, "choose"), arrival(2), attach(1, ring))

    assert desk.ids(1) == desk.ids(2)
    assert desk.reason(1) == "length"
    assert desk.counts == (12, 6)


def test_a_client_may_choose_what_it_likes_and_it_is_what_the_model_goes_on_from() -> None:
    def odd(desk: Desk, rid: int, position: int) -> Choose:
        return Choose(rid=rid, position=position, token=20 + position)

    desk = Desk(answer=odd)
    desk.serve(reading(1, "choose"), attach(1, Ring(N_VOCAB)))

    assert desk.ids(1) == [20, 21, 22, 23, 24, 25]
    decoded = [piece.token for plan in desk.runner.plans for piece in plan.decode]
    assert decoded == [20, 21, 22, 23, 24], "each but the last, which nothing follows"


def test_an_end_token_or_a_stop_string_ends_a_chosen_completion_too() -> None:
    def end(desk: Desk, rid: int, position: int) -> Choose:
        return Choose(rid=rid, position=position, token=2 if position == 2 else 17)

    desk = Desk(answer=end)
    desk.serve(reading(1, "choose"), attach(1, Ring(N_VOCAB)))
    stopped = Desk(answer=end)
    stopped.serve(reading(1, "choose", stops=("rr",)), attach(1, Ring(N_VOCAB)))

    assert (desk.ids(1), desk.reason(1)) == ([17, 17, 2], "stop")
    assert (stopped.ids(1), stopped.reason(1)) == ([17, 17], "stop")


def test_nobody_waits_for_a_client_that_says_nothing_and_it_waits_only_so_long() -> None:
    def silence(desk: Desk, rid: int, position: int) -> None:
        desk.inbox.put(Pause(rid=99))  # wakes the loop, so that no test waits for real time

    desk = Desk(answer=silence)
    real = desk._now_ns

    def later() -> int:
        # Once the other stream has ended, time passes quickly.
        if len(desk.ids(2)) == 6:
            desk.now_ns += 10**10
        return real()

    desk._now_ns = later  # type: ignore[method-assign]
    desk.serve(reading(1, "choose"), arrival(2), attach(1, Ring(N_VOCAB)))

    assert desk.ids(2) == [15, 16, 17, 18, 19, 10]
    assert desk.reason(2) == "length"
    assert desk.ids(1) == []
    assert desk.reason(1) == (
        f"deadline_exceeded: no token was chosen for position 0 within {CHOICE_S:g} s"
    )


def test_no_row_is_written_before_the_client_has_its_ring() -> None:
    desk = Desk()
    real = desk._now_ns

    def later() -> int:
        desk.now_ns += 10**10
        return real()

    desk._now_ns = later  # type: ignore[method-assign]
    # The engine has answered and the daemon has not yet passed it on.
    desk.inbox.put(reading(1, "read"))
    desk.inbox.put(attach(1, Ring(N_VOCAB), call=5))
    desk._hear = lambda message: (  # type: ignore[method-assign]
        desk.reports.append(report(message)) if isinstance(message, News) else None
    )
    desk.serve()

    assert desk.runner.plans == []
    assert desk.reason(1).startswith("deadline_exceeded: the ring")


def test_a_request_whose_ring_nobody_attaches_computes_nothing_and_ends() -> None:
    desk = Desk()
    real = desk._now_ns

    def later() -> int:
        desk.now_ns += 10**10
        return real()

    desk._now_ns = later  # type: ignore[method-assign]
    desk.serve(reading(1, "read"))

    assert desk.reason(1) == (
        f"deadline_exceeded: the ring of logits was not attached within {CHOICE_S:g} s"
    )
    assert desk.runner.plans == []


def nonsense(**wrong: int) -> str:
    """What ends a request whose client, at its second row, says something wrong."""

    def answer(desk: Desk, rid: int, position: int) -> Choose:
        right = Choose(rid=rid, position=position, token=20)
        return replace(right, **wrong) if position == 1 else right

    desk = Desk(answer=answer)
    desk.serve(reading(1, "choose"), arrival(2), attach(1, Ring(N_VOCAB)))
    assert desk.ids(1) == [20]
    assert (desk.ids(2), desk.reason(2)) == ([15, 16, 17, 18, 19, 10], "length")
    return desk.reason(1)


def test_a_client_that_answers_nonsense_loses_its_own_request_and_no_other() -> None:
    beyond = "bad_request: token 32 was chosen, the model has 0 to 31"
    assert nonsense(token=N_VOCAB) == beyond
    assert nonsense(position=0) == ("bad_request: a token was chosen for position 0, awaited is 1")
    assert nonsense(position=2) == ("bad_request: a token was chosen for position 2, awaited is 1")


def test_a_choice_for_a_request_that_draws_for_itself_ends_it() -> None:
    desk = Desk()
    desk.serve(arrival(1), arrival(2), Choose(rid=1, position=0, token=5))

    assert desk.reason(1) == "bad_request: this request's tokens are not its client's to choose"
    assert desk.reason(2) == "length"


def test_a_choice_that_crosses_the_end_of_its_request_is_dropped() -> None:
    desk = Desk()
    desk.serve(arrival(1), Cancel(rid=1), Choose(rid=1, position=0, token=5))

    assert desk.reason(1) == "cancelled"


def test_a_reader_may_come_later_and_then_choose() -> None:
    ring = Ring(N_VOCAB)

    def answer(desk: Desk, rid: int, position: int) -> Choose | None:
        return Choose(rid=rid, position=position, token=20) if rid == 1 else None

    desk = Desk(answer=answer)
    desk.serve(arrival(1), attach(1, ring, choose=True))

    assert desk.ids(1) == [20] * 6
    assert desk.replies[0].value == ring.facts


def test_a_second_reader_gets_the_same_ring() -> None:
    ring, other = Ring(N_VOCAB), Ring(N_VOCAB)
    desk = Desk()
    desk.serve(reading(1, "read"), attach(1, ring), attach(1, other, call=2))

    assert [reply.value for reply in desk.replies] == [ring.facts, ring.facts]


def test_attaching_to_what_has_ended_is_refused_with_a_reason() -> None:
    desk = Desk()
    desk.serve(attach(1, Ring(N_VOCAB)))

    assert desk.replies[0].error == ("unknown_request", "the request has ended", "request")


def test_a_ring_is_given_back_with_its_request_and_there_are_only_so_many() -> None:
    desk = Desk()
    mail: list[object] = []
    for rid in range(1, MOST_RINGS + 2):
        mail += [reading(rid, "read"), Pause(rid=rid), attach(rid, Ring(N_VOCAB), call=rid)]
    mail += [Cancel(rid=rid) for rid in range(1, MOST_RINGS + 2)]
    mail += [arrival(99), attach(99, Ring(N_VOCAB), call=99)]
    desk.serve(*mail)

    refused = [reply.call for reply in desk.replies if reply.error is not None]
    assert refused == [MOST_RINGS + 1]


def test_a_choice_that_comes_while_its_client_does_not_read_waits_with_it() -> None:
    def answer(desk: Desk, rid: int, position: int) -> Choose:
        if position == 1:
            desk.inbox.put(Pause(rid=rid))
            desk.inbox.put(Choose(rid=rid, position=1, token=21))
            # Behind it a whole other request; only then does the client read again.
            desk.inbox.put(arrival(2))
            desk.inbox.put(Resume(rid=rid))
            return Choose(rid=99, position=0, token=0)
        return Choose(rid=rid, position=position, token=20 + position)

    desk = Desk(answer=answer)
    desk.serve(reading(1, "choose"), attach(1, Ring(N_VOCAB)))

    assert desk.ids(1) == [20, 21, 22, 23, 24, 25]


def test_a_completion_that_was_preempted_while_it_waited_goes_on_from_its_choice() -> None:
    chosen: list[int] = []

    def answer(desk: Desk, rid: int, position: int) -> object:
        if rid == 1 and position == 2 and not chosen:
            # Interactive work comes that needs its cells; the choice comes when it has them.
            chosen.append(position)
            desk.inbox.put(arrival(2, n_prompt=20, max_tokens=6))
            return None
        return Choose(rid=rid, position=position, token=20 + position)

    desk = Desk(answer=answer, n_cells=28)
    hear = desk._hear

    def late(message: News | FromEngine) -> None:
        hear(message)
        if isinstance(message, News) and len(desk.ids(2)) == 3 and len(chosen) == 1:
            chosen.append(-1)
            desk.inbox.put(Choose(rid=1, position=2, token=22))

    desk._hear = late  # type: ignore[method-assign]
    desk.serve(reading(1, "choose", lane="background"), attach(1, Ring(N_VOCAB)))

    assert desk.ids(1) == [20, 21, 22, 23, 24, 25]
    assert desk.rows(1) == [0, 1, 2, 3, 4, 5], "the row of position 2 was not shown twice"
    stats = [report.stats for report in desk.reports if report.stats is not None]
    assert stats[-1].preemptions_total == 1
    again = [p for plan in desk.runner.plans for p in plan.prefill if p.rid == 1][1:]
    assert np.concatenate([p.tokens for p in again]).tolist()[-3:] == [20, 21, 22]
