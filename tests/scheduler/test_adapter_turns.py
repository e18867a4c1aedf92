"""Streams under different adapters take turns, because a step has one set of adapters."""

import itertools
from collections import Counter

import numpy as np
import pytest

from tests.scheduler.fake_device import Bench
from umad.scheduler.memory.cell_salt import Invoked, salt_of
from umad.scheduler.memory.parked_store import ParkShape
from umad.scheduler.memory.prefix_index import PrefixIndex
from umad.scheduler.steps.adapter_turns import (
    LEARN_TURNS,
    MOST_OVERDUE_MS,
    MOST_STAY_MS,
    MOST_WAIT_NS,
    STAY_SWITCHES,
)
from umad.step import SeqCopy, SeqPark, SessionSave, StepPlan

PROMPT = list(range(400))


def served(plan: StepPlan) -> set[int]:
    return {row.rid for row in plan.decode} | {piece.rid for piece in plan.prefill}


def turns_of(bench: Bench) -> list[tuple[str, int]]:
    """The sets in turn, each with the number of its steps."""
    busy = [plan.adapters for plan in bench.plans if not plan.is_idle]
    return [(name, len(list(steps))) for name, steps in itertools.groupby(busy)]


# -- without adapters ------------------------------------------------------------------------------


def test_an_engine_without_adapters_never_changes_them() -> None:
    bench = Bench()
    bench.arrive(1, 30, 20)
    bench.arrive(2, 30, 20, lane="background")
    bench.run(40)
    assert {(plan.adapters, plan.switch_ms) for plan in bench.plans} == {("", 0.0)}


def test_streams_of_one_adapter_share_their_steps() -> None:
    bench = Bench(switch_ms=10.0)
    for rid in (1, 2, 3):
        bench.arrive(rid, 20, 30, adapters="a")
    plans = bench.run(20)
    assert [len(plan.decode) for plan in plans[-5:]] == [3] * 5
    assert turns_of(bench) == [("a", 20)]


# -- turns -----------------------------------------------------------------------------------------


def test_no_step_has_rows_of_two_sets() -> None:
    bench = Bench(switch_ms=5.0)
    names = {1: "", 2: "a", 3: "b", 4: "", 5: "a"}
    for rid, adapters in names.items():
        lane = "background" if rid > 3 else "interactive"
        bench.arrive(rid, 40, 60, adapters=adapters, lane=lane)
    for plan in bench.run(300):
        assert {names[rid] for rid in served(plan)} <= {plan.adapters}
    assert len(bench.ended) == 5


def test_two_sets_take_turns_and_each_stays_a_while() -> None:
    bench = Bench(switch_ms=10.0)
    bench.arrive(1, 20, 400, adapters="a")
    bench.arrive(2, 20, 400, adapters="b")
    bench.run(300)
    turns = turns_of(bench)[2:-1]
    assert [name for name, _ in turns[:6]] in (list("ababab"), list("bababa"))
    # A step takes 22 ms, and a change 10: less than a tenth of the time is lost by changes.
    assert min(steps for _, steps in turns) >= 4
    assert len(turns) * 10.0 <= 0.12 * bench.now_ns / 1e6


def test_a_stream_waits_for_one_stay_of_each_other_set_and_no_longer() -> None:
    bench = Bench(switch_ms=12.0)
    for rid, adapters in enumerate(("", "a", "b"), start=1):
        bench.arrive(rid, 20, 400, adapters=adapters)
    last = dict.fromkeys((1, 2, 3), 0)
    longest_ms = 0.0
    for number in range(400):
        plan = bench.step()
        for rid in served(plan):
            if number > 20:
                longest_ms = max(longest_ms, (bench.now_ns - last[rid]) / 1e6)
            last[rid] = bench.now_ns
    others, step_ms = 2, 22.0 + 12.0
    assert longest_ms <= others * (MOST_STAY_MS + step_ms) + step_ms


def test_a_change_that_costs_little_makes_short_turns() -> None:
    quick, slow = Bench(switch_ms=1.0), Bench(switch_ms=18.0)
    for bench in (quick, slow):
        bench.arrive(1, 20, 600, adapters="a")
        bench.arrive(2, 20, 600, adapters="b")
        bench.run(1000)
    assert len(turns_of(quick)) > 2 * len(turns_of(slow))
    assert quick.scheduler._adapter_turns.switch_ms == pytest.approx(1.0, abs=0.5)
    assert slow.scheduler._adapter_turns.stay_ms() <= min(MOST_STAY_MS, 19 * STAY_SWITCHES)


def test_the_cost_of_a_change_is_found_again_after_a_crowd_taught_wrong_costs_of_steps() -> None:
    """Where each step changes the set, no step without a change says what its rows take."""
    bench = Bench(switch_ms=1.0)
    bench.arrive(1, 20, 1500, adapters="a")
    bench.arrive(2, 20, 1500, adapters="b")
    bench.run(200)
    each_changes = turns_of(bench)[-8:-1]
    for _ in range(200):
        bench.scheduler.cost.learn(1, 0, 100.0)
    bench.switch_ms = 20.0
    bench.plans.clear()
    bench.run(400)

    turns = turns_of(bench)[-8:-1]
    assert min(steps for _, steps in each_changes) == 1
    assert bench.scheduler.snapshot().adapter_switch_ms == pytest.approx(20.0, abs=2.0)
    # Less than an eighth of the time goes to changes.
    assert min(steps for _, steps in turns) >= 7


@pytest.mark.parametrize("other", ["", "b"])
def test_turns_of_a_single_step_are_rarely_longer_to_learn_from(other: str) -> None:
    bench = Bench(switch_ms=1.0)
    bench.arrive(1, 20, 1500, adapters="a")
    bench.arrive(2, 20, 1500, adapters=other)
    bench.run(900)

    lengths = Counter(steps for _, steps in turns_of(bench)[50:-1])
    assert set(lengths) == {1, 2}
    assert lengths[2] <= len(turns_of(bench)) / LEARN_TURNS + 1


def test_what_a_change_takes_is_told_once_one_was_measured() -> None:
    bench = Bench(switch_ms=6.0)
    bench.arrive(1, 20, 600, adapters="a")
    bench.run(1)
    before = bench.scheduler.snapshot().adapter_switch_ms
    bench.arrive(2, 20, 600, adapters="b")
    bench.run(400)

    assert before == 0
    assert bench.scheduler.snapshot().adapter_switch_ms == pytest.approx(6.0, abs=1.0)


def test_a_set_without_work_gives_its_turn_away_at_once() -> None:
    bench = Bench(switch_ms=15.0)
    bench.arrive(1, 20, 3, adapters="a")
    bench.run(2)
    bench.arrive(2, 20, 30, adapters="b")
    bench.run(10)
    assert turns_of(bench)[0][0] == "a"
    assert 1 in bench.ended
    assert turns_of(bench)[-1][0] == "b"


def test_an_interactive_stream_of_another_set_interrupts_background_work_at_once() -> None:
    bench = Bench(switch_ms=15.0)
    bench.arrive(1, 20, 400, adapters="a", lane="background")
    bench.run(10)
    bench.arrive(2, 20, 30, adapters="b")
    assert served(bench.step()) == {2}


def test_background_work_of_another_set_is_not_starved() -> None:
    bench = Bench(switch_ms=15.0)
    bench.arrive(1, 20, 900, adapters="a")
    bench.arrive(2, 20, 20, adapters="b", lane="background")
    waited_ns, last_ns = 0, 0
    for _ in range(600):
        if 2 in served(bench.step()):
            waited_ns, last_ns = max(waited_ns, bench.now_ns - last_ns), bench.now_ns
    assert bench.tokens[2] >= 3
    assert waited_ns <= MOST_WAIT_NS + 200_000_000


def test_a_long_background_prompt_of_another_set_never_stalls_an_interactive_stream() -> None:
    bench = Bench(switch_ms=15.0)
    bench.arrive(1, 20, 900, adapters="a")
    bench.run(20)
    bench.arrive(2, 3000, 20, adapters="b", lane="background")
    last_ns, longest_ms = bench.now_ns, 0.0
    for _ in range(400):
        if 1 in served(bench.step()):
            longest_ms = max(longest_ms, (bench.now_ns - last_ns) / 1e6)
            last_ns = bench.now_ns
    assert any(2 in served(plan) for plan in bench.plans)
    assert longest_ms <= MOST_OVERDUE_MS + 2 * 15.0 + 22.0 + 22.0


def test_a_long_prompt_of_another_set_takes_no_more_than_its_turn() -> None:
    bench = Bench(switch_ms=15.0)
    bench.arrive(1, 20, 900, adapters="a")
    bench.run(20)
    bench.arrive(2, 2000, 20, adapters="b")
    last_ns, longest_ms = bench.now_ns, 0.0
    while 2 not in bench.tokens:
        if 1 in served(bench.step()):
            longest_ms = max(longest_ms, (bench.now_ns - last_ns) / 1e6)
            last_ns = bench.now_ns
    # The last step of a turn may begin just before its end.
    assert longest_ms <= 2 * MOST_STAY_MS + 2 * 15.0 + 22.0


def test_a_change_teaches_no_wrong_cost_of_steps() -> None:
    bench = Bench(switch_ms=40.0)
    bench.arrive(1, 20, 300, adapters="a")
    bench.arrive(2, 20, 300, adapters="b")
    bench.run(200)
    assert bench.scheduler.cost.step_ms(1, 0) == pytest.approx(22.0, abs=1.5)


def test_it_is_said_why_a_stream_waits_for_its_turn() -> None:
    bench = Bench(switch_ms=15.0)
    bench.arrive(1, 20, 300, adapters="a")
    bench.arrive(2, 20, 300, adapters="b")
    bench.run(30)
    waits = bench.scheduler.waits(bench.now_ns)
    assert list(waits.values()) == ["another adapter's turn"]


def test_the_last_stream_with_adapters_leaves_an_engine_that_uses_none() -> None:
    bench = Bench(switch_ms=15.0)
    bench.arrive(1, 20, 5, adapters="a")
    bench.run(10)
    bench.arrive(2, 20, 5)
    bench.run(10)
    assert turns_of(bench)[0][0] == "a"
    assert turns_of(bench)[1][0] == ""
    assert len(bench.ended) == 2


# -- what is shared --------------------------------------------------------------------------------


def cached(bench: Bench, rid: int) -> int:
    while rid not in bench.ended:
        bench.step()
    return bench.ended[rid].cached_tokens


def test_a_prompt_is_computed_again_under_other_adapters() -> None:
    bench = Bench()
    for rid, adapters in enumerate(("", "a", "b", "a", ""), start=1):
        bench.arrive(rid, 0, 3, prompt=[*PROMPT, rid], adapters=adapters)
        cached(bench, rid)
    assert [bench.ended[rid].cached_tokens for rid in range(1, 6)] == [0, 0, 0, 400, 400]


def test_an_activated_adapter_begins_with_what_the_model_has_read() -> None:
    bench = Bench()
    bench.arrive(1, 0, 3, prompt=[*PROMPT, 7])
    cached(bench, 1)
    bench.arrive(2, 0, 3, prompt=[*PROMPT, 901, 902, 8], adapters="a", invoked_at=400)
    assert cached(bench, 2) == 400
    copies = [op for plan in bench.plans for op in plan.memory if isinstance(op, SeqCopy)]
    assert [op.n_tokens for op in copies] == [400]


def test_the_model_begins_with_what_was_read_before_an_invocation_and_with_no_more() -> None:
    bench = Bench()
    prompt = [*PROMPT, 901, 902, *[8] * 50]
    bench.arrive(1, 0, 3, prompt=prompt, adapters="a", invoked_at=400)
    cached(bench, 1)
    bench.arrive(2, 0, 3, prompt=prompt)
    bench.arrive(3, 0, 3, prompt=[*prompt, 9], adapters="a", invoked_at=400)
    bench.arrive(4, 0, 3, prompt=[*prompt, 9], adapters="a", invoked_at=420)
    assert [cached(bench, rid) for rid in (2, 3, 4)] == [400, 452, 420 - 20]


def test_what_an_invocation_adds_to_a_parked_conversation_is_not_the_models_own() -> None:
    """The model's answer went to host memory, and then an activated adapter looks at it."""
    shape = ParkShape(capacity_bytes=64 << 20, slice_cells=64, slab_bytes=1 << 16)
    bench = Bench(n_cells=1024, max_seqs=4, parking=shape, slab_ms=0.01)
    bench.arrive(1, 0, 3, prompt=PROMPT)
    cached(bench, 1)
    bench.arrive(2, 900, 3, owner="somebody")
    cached(bench, 2)
    looked_at = [*PROMPT, 1, 1, 1, 901, *[902] * 200]
    bench.arrive(3, 0, 3, prompt=looked_at, adapters="a", invoked_at=403)
    assert cached(bench, 3) == 402
    bench.arrive(4, 900, 3, owner="somebody else")
    cached(bench, 4)

    bench.arrive(5, 0, 3, prompt=[*looked_at, 7])
    bench.arrive(6, 0, 3, prompt=[*looked_at, 8], adapters="a", invoked_at=403)

    assert cached(bench, 5) <= 403
    assert cached(bench, 6) > 600


def test_a_session_is_saved_though_an_activated_adapter_has_a_copy_of_its_beginning() -> None:
    shape = ParkShape(capacity_bytes=64 << 20, slice_cells=64, slab_bytes=1 << 16)
    bench = Bench(n_cells=1024, max_seqs=4, parking=shape, slab_ms=0.01, saved={})
    bench.arrive(1, 0, 3, prompt=PROMPT, session="talk")
    cached(bench, 1)
    looked_at = [*PROMPT, 1, 1, 1, 901, *[902] * 100]
    bench.arrive(2, 0, 3, prompt=looked_at, adapters="a", invoked_at=403)
    cached(bench, 2)
    bench.arrive(3, 560, 40, owner="somebody")
    cached(bench, 3)

    ops = [op for plan in bench.plans for op in plan.memory]
    assert any(isinstance(op, SeqPark) for op in ops), "the adapter's cells were not copied"
    saves = [op for op in ops if isinstance(op, SessionSave)]
    assert [(op.session, op.tokens.size) for op in saves] == [("talk", 402)]


def test_no_slice_reaches_over_the_place_where_an_adapter_begins_to_act() -> None:
    bench = Bench(batch_tokens=256)
    bench.arrive(1, 0, 3, prompt=PROMPT, adapters="a", invoked_at=130)
    cached(bench, 1)
    for plan in bench.plans:
        for piece in plan.prefill:
            acts = piece.start >= 130
            assert plan.adapters == ("a" if acts else "")
            assert acts or piece.start + piece.n_tokens <= 130


def test_a_short_beginning_before_an_invocation_is_not_worth_sharing() -> None:
    index = PrefixIndex()
    tokens = np.arange(40, dtype=np.int32)
    index.put(1, tokens, 40, Invoked("", "a", 3))
    assert index.longest(tokens, "") == (-1, 0)
    assert index.longest(tokens, Invoked("", "a", 3)) == (1, 40)


def test_salts_of_owners_and_adapters_are_all_different() -> None:
    salts = [
        salt_of(owner, adapters, at)
        for owner in ("", "o", "o2")
        for adapters in ("", "a", "b")
        for at in (0, 5, 6)
    ]
    plain = [one for one in salts if isinstance(one, str)]
    assert len(set(salts)) == 3 * (1 + 2 * 3)
    assert len({one.text for one in salts if isinstance(one, Invoked)} | set(plain)) == 21
