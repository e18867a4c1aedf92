"""What is only kept in the pool pays for the rows that pass over it, and moves out in the end."""

from tests.scheduler.fake_device import Bench
from umad.scheduler.memory.parked_store import ParkShape
from umad.step import SeqPark, SeqRestore, StepPlan

ROOMY = ParkShape(capacity_bytes=1 << 30, slice_cells=64, slab_bytes=1 << 20)
# Passing over 300 cells takes a row 0.03 ms; copying them out and back, 6 to 10.
DEAR = 1e-4


def n_copies(plans: list[StepPlan], kind: type) -> int:
    return sum(isinstance(op, kind) for plan in plans for op in plan.memory)


def talked(bench: Bench, *, n_prompt: int = 300, session: str | None = "talk") -> list[int]:
    """A first turn that has ended; its tokens."""
    prompt = list(range(n_prompt))
    bench.arrive(1, 0, 5, prompt=prompt, session=session)
    while 1 not in bench.ended:
        bench.step()
    return [*prompt, 1, 1, 1, 1]


def beside(bench: Bench, rid: int, *, n_steps: int) -> None:
    bench.arrive(rid, 20, n_steps, app="other")
    while rid not in bench.ended:
        bench.step()


def test_a_conversation_that_others_have_paid_for_moves_out_of_their_way() -> None:
    bench = Bench(skip_ms=DEAR, parking=ROOMY)
    talked(bench)
    beside(bench, 2, n_steps=400)

    assert bench.scheduler.snapshot().parked == 1
    assert bench.scheduler.snapshot().cells_retained <= 420, "what the other left"
    assert n_copies(bench.plans, SeqPark) == 5, "304 cells are 5 slabs, each copied once"


def test_its_next_turn_computes_only_what_is_new() -> None:
    bench = Bench(skip_ms=DEAR, parking=ROOMY)
    first = talked(bench)
    beside(bench, 2, n_steps=400)
    bench.plans.clear()

    bench.arrive(3, 0, 5, prompt=[*first, 7, 8, 9], session="talk")
    while 3 not in bench.ended:
        bench.step()

    assert n_copies(bench.plans, SeqRestore) == 5
    assert sum(piece.n_tokens for plan in bench.plans for piece in plan.prefill) == 3
    assert bench.ended[3].cached_tokens == 304


def test_who_comes_back_soon_has_stayed() -> None:
    bench = Bench(skip_ms=DEAR, parking=ROOMY)
    first = talked(bench)
    beside(bench, 2, n_steps=20)

    bench.arrive(3, 0, 5, prompt=[*first, 7, 8, 9], session="talk")
    plan = bench.step()

    assert plan.prefill[0].start == 304
    assert n_copies(bench.plans, SeqPark) == 0


def test_a_new_turn_starts_a_new_account() -> None:
    bench = Bench(skip_ms=DEAR, parking=ROOMY)
    tokens = talked(bench)
    for rid in range(3, 13):
        beside(bench, 100 + rid, n_steps=20)
        tokens = [*tokens, 7, 8, 9]
        bench.arrive(rid, 0, 2, prompt=tokens, session="talk")
        while rid not in bench.ended:
            bench.step()
        tokens.append(rid)

    assert n_copies(bench.plans, SeqPark) == 0


def test_copying_it_out_keeps_running_streams_within_the_guard() -> None:
    bench = Bench(skip_ms=DEAR, parking=ROOMY)
    talked(bench, n_prompt=1500)
    bench.plans.clear()
    beside(bench, 2, n_steps=300)

    a_slab = bench.slab_ms
    copied = [n_copies([plan], SeqPark) * bench.slab_ms for plan in bench.plans]
    assert sum(copied) == 24 * a_slab
    assert all(
        ms <= max(a_slab, 0.22 * plan.solo_ms)
        for ms, plan in zip(copied, bench.plans, strict=True)
        if plan.decode
    )


def test_what_nobody_owns_and_cannot_be_parked_goes_once_it_cost_what_it_saves() -> None:
    bench = Bench(skip_ms=0.1, parking=None)
    talked(bench, session=None)
    # 300 tokens are computed again in about 1.3 s; passing over their cells takes a row 30 ms.
    beside(bench, 2, n_steps=30)
    kept = bench.scheduler.snapshot().cells_retained
    beside(bench, 3, n_steps=60)

    assert kept > 300
    assert bench.scheduler.snapshot().cells_retained < 200


def test_a_conversation_that_cannot_be_parked_stays() -> None:
    bench = Bench(skip_ms=0.1, parking=None)
    talked(bench)
    beside(bench, 2, n_steps=400)

    assert bench.scheduler.snapshot().cells_retained > 300


def test_what_a_device_skips_for_nothing_owes_nothing() -> None:
    bench = Bench(skip_ms=0.0, parking=ROOMY)
    talked(bench)
    beside(bench, 2, n_steps=500)

    assert n_copies(bench.plans, SeqPark) == 0
    assert bench.scheduler.snapshot().parked == 0


def test_an_engine_that_rests_charges_nothing() -> None:
    bench = Bench(skip_ms=DEAR, parking=ROOMY)
    first = talked(bench)
    bench.now_ns += 3_600_000_000_000

    bench.arrive(3, 0, 5, prompt=[*first, 7, 8, 9], session="talk")

    assert bench.step().prefill[0].start == 304


def test_cells_that_others_use_as_well_are_not_charged_for() -> None:
    bench = Bench(skip_ms=DEAR, parking=ROOMY)
    first = talked(bench, session=None)
    bench.arrive(2, 0, 500, prompt=[*first, 7, 8, 9], app="other")
    bench.arrive(3, 0, 500, prompt=[*first, 5, 5, 5], app="third")
    while len(bench.ended) < 3:
        bench.step()

    assert n_copies(bench.plans, SeqPark) == 0


def turns_of(bench: Bench, *, sessions: list[str]) -> dict[str, list[int]]:
    """A first turn of 304 tokens each, and 800 steps of somebody else."""
    tokens = {}
    for at, session in enumerate(sessions):
        prompt = list(range(500 * at, 500 * at + 300))
        bench.arrive(10 + at, 0, 5, prompt=prompt, session=session)
        while 10 + at not in bench.ended:
            bench.step()
        tokens[session] = [*prompt, *[10 + at] * 4]
    beside(bench, 2, n_steps=800)
    return tokens


def test_no_conversation_is_lost_where_host_memory_has_room_for_one_of_them() -> None:
    # 6 slabs, and each of them has 5.
    bench = Bench(
        skip_ms=DEAR, parking=ParkShape(capacity_bytes=6 << 20, slice_cells=64, slab_bytes=1 << 20)
    )
    tokens = turns_of(bench, sessions=["one", "two", "three"])
    bench.plans.clear()

    for rid, session in enumerate(tokens, 20):
        bench.arrive(rid, 0, 5, prompt=[*tokens[session], 7, 8, 9], session=session)
        while rid not in bench.ended:
            bench.step()

    assert [bench.ended[rid].cached_tokens for rid in (20, 21, 22)] == [304, 304, 304]


def test_what_belongs_to_nobody_makes_room_for_a_conversation() -> None:
    bench = Bench(
        skip_ms=DEAR, parking=ParkShape(capacity_bytes=6 << 20, slice_cells=64, slab_bytes=1 << 20)
    )
    talked(bench, session=None)
    beside(bench, 2, n_steps=400)
    bench.arrive(3, 0, 5, prompt=list(range(500, 800)), session="talk")
    while 3 not in bench.ended:
        bench.step()
    n_before = n_copies(bench.plans, SeqPark)
    beside(bench, 4, n_steps=800)

    assert n_before == 5
    assert n_copies(bench.plans, SeqPark) >= 10
    assert bench.scheduler.snapshot().cells_retained < 304 + 820 + 420
