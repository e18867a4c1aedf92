"""Steps of models with recurrent layers that are aborted in the middle, on the real library."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engine.state_contexts import BATCH, EMPTY, Stateful, Tokens, opened, tokens
from umad.engine.execution import Decoded
from umad.engine.llamacpp import llama
from umad.step import PrefillSlice, SeqCopy, SeqTrim, StepPlan

KINDS = ["recurrent", "mamba 2", "hybrid", "delta net", "mamba hybrid", "hybrid with windows"]
BEGIN = tokens(150)
MORE = tokens(BATCH, seed=2)
# Between the logits of one text whose cells lie in two orders.
ORDER = 0.01


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(kind.replace(" ", "_"))


@pytest.fixture
def pool(folder: Path, kind: str) -> Iterator[Stateful]:
    with opened(folder, kind) as made:
        yield made


@pytest.fixture(scope="module")
def expected(folder: Path, kind: str) -> dict[bool, Any]:
    """The logits behind `MORE`, with `BEGIN` before it and without, of streams never cut."""
    logits = {}
    for has_begin in (True, False):
        with opened(folder, kind) as alone:
            start = BEGIN.size if has_begin else 0
            alone.feed(0, BEGIN[:start])
            logits[has_begin] = alone.feed(0, MORE, start=start)
    return logits


def assert_same(found: Any, expected: Any, kind: str) -> None:
    if kind == "hybrid with windows":
        np.testing.assert_allclose(found, expected, atol=ORDER)
    else:
        assert found.tobytes() == expected.tobytes()


def plan_of(ids: Tokens, *, seq: int = 0, start: int, saves_state: bool = True) -> StepPlan:
    piece = PrefillSlice(rid=1, seq=seq, start=start, tokens=ids, wants_logits=True)
    return StepPlan(prefill=(piece,), cuttable=True, saves_state=saves_state)


# The binding, which only the engine's own modules import.
lib: Any = vars(llama)["lib"]
_Callback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)


@contextmanager
def arrival(pool: Stateful, *, at_node: int) -> Iterator[None]:
    """Somebody arrives, and asks for a cut, just before a step computes this node of its graph."""
    flag, seen = pool.context.abort_flag, 0

    def look(_: int | None) -> bool:
        nonlocal seen
        seen += 1
        if seen == at_node:
            pool.runner._cutter.cut()
        return bool(flag._flag[0] != b"\x00")

    callback = _Callback(look)
    lib.llama_set_abort_callback(pool.context._handle, callback, None)
    yield
    lib.llama_set_abort_callback(pool.context._handle, flag.callback, flag.argument)


def nodes_of(pool: Stateful, plan: StepPlan) -> int:
    """How many nodes the graphs of a step have; runs it."""
    seen = 0

    def look(_: int | None) -> bool:
        nonlocal seen
        seen += 1
        return False

    callback, flag = _Callback(look), pool.context.abort_flag
    lib.llama_set_abort_callback(pool.context._handle, callback, None)
    assert pool.runner.run(plan).outcome == "done"
    lib.llama_set_abort_callback(pool.context._handle, flag.callback, flag.argument)
    return seen


def cut(pool: Stateful, plan: StepPlan, *, at_node: int) -> Decoded:
    with arrival(pool, at_node=at_node):
        return pool.runner.run(plan)


def test_a_step_cut_anywhere_leaves_its_sequence_as_it_was(
    pool: Stateful, expected: dict[bool, Any], kind: str
) -> None:
    pool.feed(0, BEGIN)
    plan = plan_of(MORE, start=BEGIN.size)

    for at_node in (1, 2, 3, 5, 8, 13, 21, 34, 55):
        assert cut(pool, plan, at_node=at_node).outcome == "cut"
        assert pool.runner.lengths(plan) == ((0, BEGIN.size),)

    assert_same(pool.runner.run(plan).logits[0], expected[True], kind)


def test_so_does_one_cut_in_its_third_micro_batch(folder: Path, kind: str) -> None:
    plan = plan_of(MORE, start=BEGIN.size)
    with opened(folder, kind, ubatch=BATCH // 4) as pool:
        pool.feed(0, BEGIN)
        nodes = nodes_of(pool, plan)
        pool.keep(SeqTrim(seq=0, keep_tokens=0))

        pool.feed(0, BEGIN)
        outcome = cut(pool, plan, at_node=5 * nodes // 8).outcome
        lengths = pool.runner.lengths(plan)
        after = pool.runner.run(plan).logits[0].copy()

    with opened(folder, kind, ubatch=BATCH // 4) as alone:
        alone.feed(0, BEGIN)
        never_cut = alone.feed(0, MORE, start=BEGIN.size)
    assert outcome == "cut"
    assert lengths == ((0, BEGIN.size),)
    assert_same(after, never_cut, kind)


def test_a_prompt_cut_at_its_first_token_is_empty_again(
    pool: Stateful, expected: dict[bool, Any], kind: str
) -> None:
    plan = plan_of(MORE, seq=1, start=0)

    outcome = cut(pool, plan, at_node=30).outcome

    assert outcome == "cut"
    assert pool.runner.lengths(plan) == ((1, 0),)
    assert pool.context.whole_size(1) == pool.context.whole_size(EMPTY)
    assert_same(pool.runner.run(plan).logits[0], expected[False], kind)


def test_a_sequence_that_shared_its_state_is_not_touched(
    pool: Stateful, expected: dict[bool, Any], kind: str
) -> None:
    pool.feed(0, BEGIN)
    pool.keep(SeqCopy(source=0, target=1, n_tokens=BEGIN.size))
    plan = plan_of(MORE, seq=1, start=BEGIN.size)

    outcome = cut(pool, plan, at_node=30).outcome
    source = pool.feed(0, MORE, start=BEGIN.size)
    shared = pool.runner.run(plan).logits[0]

    assert outcome == "cut"
    assert_same(source, expected[True], kind)
    # Its cells lie behind those of the other.
    np.testing.assert_allclose(shared, expected[True], atol=ORDER)


def test_a_step_whose_state_is_not_saved_is_not_cut(
    pool: Stateful, expected: dict[bool, Any], kind: str
) -> None:
    pool.feed(0, BEGIN)

    done = cut(pool, plan_of(MORE, start=BEGIN.size, saves_state=False), at_node=30)

    assert done.outcome == "done"
    assert_same(done.logits[0], expected[True], kind)


@pytest.mark.parametrize("put_back", [False, True], ids=["refuses", "does nothing"])
def test_where_the_state_cannot_be_put_back_the_sequence_is_empty(
    put_back: bool,
    pool: Stateful,
    expected: dict[bool, Any],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool.feed(0, BEGIN)
    plan = plan_of(MORE, start=BEGIN.size)

    with monkeypatch.context() as patched:
        patched.setattr(llama.Context, "load_state", lambda *_: put_back)
        outcome = cut(pool, plan, at_node=30).outcome

    assert outcome == "cut"
    assert pool.runner.lengths(plan) == ((0, 0),)
    assert pool.context.whole_size(0) == pool.context.whole_size(EMPTY)
    pool.feed(0, BEGIN)
    assert_same(pool.feed(0, MORE, start=BEGIN.size), expected[True], kind)


def test_a_state_of_other_bytes_that_was_put_back_is_found(
    pool: Stateful, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "hybrid with windows":
        pytest.skip("the bytes of a window depend on where its cells lie")
    pool.feed(2, tokens(BEGIN.size, seed=9))
    other = np.empty(pool.context.state_size(2), np.uint8)
    pool.context.save_state(2, other)
    pool.feed(0, BEGIN)
    plan = plan_of(MORE, start=BEGIN.size)
    load_state = llama.Context.load_state
    monkeypatch.setattr(
        llama.Context, "load_state", lambda self, seq, *_: load_state(self, seq, other, other.size)
    )

    outcome = cut(pool, plan, at_node=30).outcome

    assert outcome == "cut"
    assert pool.runner.lengths(plan) == ((0, 0),)


def test_where_no_state_can_be_saved_the_step_is_not_cut(
    pool: Stateful, expected: dict[bool, Any], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.feed(0, BEGIN)
    monkeypatch.setattr(llama.Context, "save_state", lambda *_: 0)

    done = cut(pool, plan_of(MORE, start=BEGIN.size), at_node=30)

    assert done.outcome == "done"
    assert_same(done.logits[0], expected[True], kind)


def test_the_memory_of_a_saved_state_is_used_again(pool: Stateful) -> None:
    pool.feed(0, BEGIN)
    plan = plan_of(MORE, start=BEGIN.size)
    before = pool.runner._before
    assert before is not None

    cut(pool, plan, at_node=30)
    first = before._memory
    cut(pool, plan, at_node=30)

    assert before._memory is first
    assert 0 < first.size <= pool.layout.most_bytes


def test_the_trial_tells_what_a_save_costs(pool: Stateful) -> None:
    assert pool.layout.cut_save_ms is not None
    assert pool.layout.cut_save_ms > 0
