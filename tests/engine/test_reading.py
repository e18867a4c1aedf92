"""Completions whose clients read logits: what is shown, when, and to how many."""

import numpy as np

from tests.engine.logits_desk import CHOICE_S, Desk, attach, reading, seen
from tests.engine.served_loop import N_VOCAB, arrival
from umad.engine.logits.readers import MOST_RINGS, Ring
from umad.protocol.link import CancelOrder, Pause
from umad.sampling.allowed import Allowed


def test_nobody_attached_nothing_copied() -> None:
    desk = Desk()
    desk.serve(arrival(1), arrival(2))

    assert desk.counts == (12, 0)
    assert desk.rows(1) == desk.rows(2) == []


class TopHalf:
    """A mask: only the upper half of the vocabulary may be drawn, from the second token on."""

    def __init__(self) -> None:
        self._n = 0

    def is_ready(self, patience_s: float) -> bool:
        return True

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


def test_no_row_is_written_before_the_client_has_its_ring() -> None:
    desk = Desk(passes_rings_on=False, tick_ns=lambda desk: 10**10)
    desk.serve(reading(1, "read"), attach(1, Ring(N_VOCAB)))

    assert [reply.error for reply in desk.replies] == [None], "the engine made the ring"
    assert desk.runner.plans == []
    assert desk.reason(1).startswith("deadline_exceeded: the ring")


def test_a_request_whose_ring_nobody_attaches_computes_nothing_and_ends() -> None:
    desk = Desk(tick_ns=lambda desk: 10**10)
    desk.serve(reading(1, "read"))

    assert desk.reason(1) == (
        f"deadline_exceeded: the ring of logits was not attached within {CHOICE_S:g} s"
    )
    assert desk.runner.plans == []


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
    mail += [CancelOrder(rid=rid) for rid in range(1, MOST_RINGS + 2)]
    mail += [arrival(99), attach(99, Ring(N_VOCAB), call=99)]
    desk.serve(*mail)

    refused = [reply.call for reply in desk.replies if reply.error is not None]
    assert refused == [MOST_RINGS + 1]
