"""Completions whose clients choose tokens: who waits for whom, and for how long."""

from dataclasses import replace

import numpy as np

from tests.engine.logits_desk import CHOICE_S, Desk, attach, likeliest, reading
from tests.engine.served_loop import N_VOCAB, arrival
from umad.engine.logits.readers import Ring
from umad.protocol.link import CancelOrder, Choose, Pause, Resume


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

    def quickly_once_the_other_has_ended(desk: Desk) -> int:
        return 10**10 if len(desk.ids(2)) == 6 else 1000

    desk = Desk(answer=silence, tick_ns=quickly_once_the_other_has_ended)
    desk.serve(reading(1, "choose"), arrival(2), attach(1, Ring(N_VOCAB)))

    assert desk.ids(2) == [15, 16, 17, 18, 19, 10]
    assert desk.reason(2) == "length"
    assert desk.ids(1) == []
    assert desk.reason(1) == (
        f"deadline_exceeded: no token was chosen for position 0 within {CHOICE_S:g} s"
    )


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
    desk.serve(arrival(1), CancelOrder(rid=1), Choose(rid=1, position=0, token=5))

    assert desk.reason(1) == "cancelled"


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

    def choose_late(desk: Desk) -> None:
        if len(desk.ids(2)) == 3 and len(chosen) == 1:
            chosen.append(-1)
            desk.inbox.put(Choose(rid=1, position=2, token=22))

    desk = Desk(answer=answer, then=choose_late, n_cells=28)
    desk.serve(reading(1, "choose", lane="background"), attach(1, Ring(N_VOCAB)))

    assert desk.ids(1) == [20, 21, 22, 23, 24, 25]
    assert desk.rows(1) == [0, 1, 2, 3, 4, 5], "the row of position 2 was not shown twice"
    stats = [report.stats for report in desk.reports if report.stats is not None]
    assert stats[-1].preemptions_total == 1
    again = [p for plan in desk.runner.plans for p in plan.prefill if p.rid == 1][1:]
    assert np.concatenate([p.tokens for p in again]).tolist()[-3:] == [20, 21, 22]


def test_a_reader_may_come_later_and_then_choose() -> None:
    ring = Ring(N_VOCAB)

    def answer(desk: Desk, rid: int, position: int) -> Choose | None:
        return Choose(rid=rid, position=position, token=20) if rid == 1 else None

    desk = Desk(answer=answer)
    desk.serve(arrival(1), attach(1, ring, choose=True))

    assert desk.ids(1) == [20] * 6
    assert desk.replies[0].value == ring.facts
