"""What is left in the pool: shared prompts, next turns, what goes and what is refused."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.scheduler.fake_device import Bench
from umad.errors import PromptTooLong
from umad.scheduler import Submission
from umad.scheduler.memory.residency import Residency
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.step import (
    SeqCopy,
    SeqTrim,
)


def test_a_second_turn_computes_only_what_is_new() -> None:
    bench = Bench()
    first = list(range(300))
    bench.arrive(1, 0, 10, prompt=first, session="chat")
    while 1 not in bench.ended:
        bench.step()

    second = [*first, *([1] * 9), 7, 8, 9]  # the bench draws the rid as every token
    bench.arrive(2, 0, 5, prompt=second, session="chat")
    plan = bench.step()

    assert plan.prefill[0].start == 309
    assert plan.prefill[0].n_tokens == 3


def test_two_live_requests_share_the_cells_of_a_common_prompt() -> None:
    bench = Bench()
    system = list(range(200))
    bench.arrive(1, 0, 50, prompt=[*system, 1, 2], app="a")
    bench.run(8)
    alone = bench.scheduler.snapshot().cells_live

    bench.arrive(2, 0, 50, prompt=[*system, 3, 4], app="b")
    plan = bench.step()

    assert next(op for op in plan.memory if isinstance(op, SeqCopy)).n_tokens == 200
    assert bench.scheduler.snapshot().cells_live <= alone + 5


def test_a_cancelled_request_gives_its_cells_back_with_the_next_step() -> None:
    bench = Bench()
    bench.arrive(1, 100, 50)
    bench.run(5)

    finished = bench.scheduler.cancel(1)
    plan = bench.scheduler.plan(bench.now_ns)

    assert finished is not None
    assert finished.reason == "cancelled"
    assert plan.memory == (SeqTrim(seq=0, keep_tokens=0),)
    assert bench.scheduler.snapshot().cells_live == 0
    assert not bench.scheduler.has_work


def test_a_request_no_empty_pool_could_hold_is_refused_at_once() -> None:
    bench = Bench(n_cells=100)
    with pytest.raises(PromptTooLong) as caught:
        bench.arrive(1, 90, 20)
    assert caught.value.field == "prompt"
    assert not bench.scheduler.has_work


def test_what_a_background_request_left_goes_with_its_apps_next_where_every_cell_is_paid_for() -> (
    None
):
    bench = Bench(skip_ms=1e-9)
    system = list(range(200))
    bench.arrive(1, 0, 5, prompt=[*system, *[500] * 300], lane="background", app="batch")
    bench.arrive(2, 300, 5, lane="interactive", app="batch")
    while len(bench.ended) < 2:
        bench.step()
    kept = bench.scheduler.snapshot().cells_retained

    bench.arrive(3, 0, 5, prompt=[*system, *[501] * 300], lane="background", app="batch")
    first = bench.step()
    while len(bench.ended) < 3:
        bench.step()

    assert kept > 700
    assert first.prefill[0].start == 200, "what both have in common is not computed again"
    assert bench.scheduler.snapshot().cells_retained <= 820, "the first one's tail is gone"
    assert bench.scheduler.snapshot().cells_live == 0


def test_a_short_prompt_goes_with_its_apps_next_where_cells_are_paid_for() -> None:
    bench = Bench(skip_ms=1e-9)
    bench.arrive(1, 0, 5, prompt=[500] * 100)
    bench.arrive(2, 0, 5, prompt=[501] * 300)
    while len(bench.ended) < 2:
        bench.step()
    kept = bench.scheduler.snapshot().cells_retained

    bench.arrive(3, 0, 5, prompt=[502] * 50)
    bench.step()

    assert kept > 400
    assert 300 <= bench.scheduler.snapshot().cells_retained < 310


def test_a_short_prompt_of_a_session_waits_for_its_next_turn() -> None:
    bench = Bench(skip_ms=1e-9)
    bench.arrive(1, 0, 5, prompt=[500] * 100, session="talk")
    while 1 not in bench.ended:
        bench.step()

    bench.arrive(2, 0, 5, prompt=[502] * 50)
    bench.step()

    assert bench.scheduler.snapshot().cells_retained > 100


def test_the_same_prompt_again_computes_its_last_token_alone() -> None:
    bench = Bench()
    prompt = list(range(100))
    bench.arrive(1, 0, 5, prompt=prompt)
    while 1 not in bench.ended:
        bench.step()

    bench.arrive(2, 0, 5, prompt=prompt)
    plan = bench.step()
    while 2 not in bench.ended:
        bench.step()

    assert [(piece.start, piece.n_tokens) for piece in plan.prefill] == [(99, 1)]
    assert bench.tokens[2] == 5


def test_a_conversation_stays_in_the_pool_longer_than_what_nobody_comes_back_for() -> None:
    bench = Bench(n_cells=700)
    turn = list(range(200))
    bench.arrive(1, 0, 5, prompt=turn, session="chat")
    for rid in (2, 3):
        while rid - 1 not in bench.ended:
            bench.step()
        bench.arrive(rid, 200, 5)
    while 3 not in bench.ended:
        bench.step()

    bench.arrive(4, 200, 5)  # no room: something older must go, and the conversation is oldest
    while 4 not in bench.ended:
        bench.step()
    bench.arrive(5, 0, 5, prompt=[*turn, *range(500, 540)], session="chat")
    plan = bench.step()

    assert plan.prefill[0].start >= 200


def eviction_order(
    *left: tuple[int, str | None], rebuild_ms: Callable[[int], float] = float
) -> list[int]:
    """Lengths of what (length, session) after (length, session) left, the first to go first."""
    residency = Residency(n_cells=4096, max_seqs=16, can_share_prefix=True, rebuild_ms=rebuild_ms)
    for rid, (n_tokens, session) in enumerate(left):
        entry = ScheduledRequest.of(
            Submission(
                rid=rid,
                tokens=np.full(n_tokens, rid, np.int32),
                n_prompt=n_tokens,
                max_new_tokens=1,
                lane="interactive",
                app="editor",
                session=session,
            ),
            0,
        )
        assert residency.place(entry)
        residency.grow(entry, n_tokens)
        residency.retain(entry)
    kept = [residency.retained_tokens(seq) for seq in residency.retained()]
    return [tokens.size for tokens in kept if tokens is not None]


def test_of_what_costs_the_same_the_longest_unused_goes_and_sessions_after_all_else() -> None:
    assert eviction_order((100, None), (50, "chat"), (300, None), (20, None)) == [100, 300, 20, 50]


def test_what_costs_three_times_as_much_to_compute_again_is_kept_three_times_as_long() -> None:
    def deep_is_dear(n_tokens: int) -> float:
        return n_tokens * (3.0 if n_tokens >= 1000 else 1.0)

    left = [(1000, None), *[(n, None) for n in range(20, 26)]]

    assert eviction_order(*left[:3], rebuild_ms=deep_is_dear) == [20, 1000, 21]
    assert eviction_order(*left[:2], rebuild_ms=deep_is_dear) == [20, 1000]
    assert eviction_order(*left, rebuild_ms=deep_is_dear)[:2] == [20, 21]
    assert eviction_order(*left, rebuild_ms=deep_is_dear).index(1000) == 4


def test_what_an_app_left_stays_while_only_others_come() -> None:
    bench = Bench(skip_ms=1e-9)
    bench.arrive(1, 200, 5, lane="background", app="mine")
    while 1 not in bench.ended:
        bench.step()

    bench.arrive(2, 40, 5, lane="background", app="another")
    while 2 not in bench.ended:
        bench.step()

    assert bench.scheduler.snapshot().cells_retained >= 200
