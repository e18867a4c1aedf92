"""Checkpoints of states on the real library, for every kind of model that keeps states."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engine.state_contexts import (
    BATCH,
    EMPTY,
    N_CELLS,
    N_SEQS,
    SCRATCH,
    SLICE_CELLS,
    STREAMS,
    Stateful,
    opened,
    options,
    tokens,
)
from tests.memory_kinds import KINDS, MORE_KINDS, WINDOW
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.host_memory import HostMemory
from umad.engine.llamacpp.parked_cells import can_park
from umad.engine.llamacpp.state_trial import try_states
from umad.step import (
    ParkDrop,
    SeqCopy,
    SeqPark,
    SeqRestore,
    SeqTrim,
    StateDrop,
    StateLoad,
    StateSave,
)

RECURRENT = ["recurrent", "mamba 2"]
HYBRID = ["hybrid", "delta net", "mamba hybrid"]
WINDOWS = ["windows", "shared cells", "sinks"]
BOTH = ["hybrid with windows"]
ALL = [*RECURRENT, *HYBRID, *WINDOWS, *BOTH]
WITHOUT = ["full", "chunks", "alibi", "latent", "named window"]
WITH_CELLS = [*HYBRID, *WINDOWS, *BOTH]

# More than two windows and some slabs; not a multiple of a slice.
BEGIN = tokens(150)
MORE = tokens(100, seed=2)
QUESTION = tokens(20, seed=3)
# Between the logits of one text whose cells lie in two orders.
ORDER = 0.01


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(str(request.param).replace(" ", "_"))


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def every(kinds: list[str]) -> pytest.MarkDecorator:
    """The test runs on a model of each kind; models are written once."""
    return pytest.mark.parametrize(
        ("folder", "kind"), [(one, one) for one in kinds], ids=kinds, indirect=True
    )


@pytest.fixture
def pool(folder: Path, kind: str) -> Iterator[Stateful]:
    with opened(folder, kind) as made:
        yield made


def cold(folder: Path, kind: str, *parts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The logits of these parts, one after the other, in a pool of their own."""
    with opened(folder, kind) as alone:
        start = 0
        for part in parts:
            logits = alone.feed(0, part, start=start)
            start += part.size
    return logits


def assert_same(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], kind: str) -> None:
    """The same bits. Cells of a window may lie in another order, and then sums differ in the last
    ones; a wrong window is off by more than 1."""
    if kind in WINDOWS + BOTH:
        np.testing.assert_allclose(found, expected, atol=ORDER)
        assert found.argmax() == expected.argmax()
    else:
        assert found.tobytes() == expected.tobytes()


def share(pool: Stateful, source: int, target: int, n_tokens: int, key: int) -> tuple[int, ...]:
    """Give `target` the first `n_tokens` of `source` and the state of checkpoint `key`."""
    copies = (SeqCopy(source=source, target=target, n_tokens=n_tokens),)
    load = StateLoad(key=key, seq=target, n_tokens=n_tokens)
    return pool.keep(*copies, load).failed_states


@every(ALL)
def test_a_beginning_that_a_sequence_left_behind_is_shared_exactly(
    pool: Stateful, folder: Path, kind: str
) -> None:
    pool.feed(0, BEGIN)
    saved = pool.keep(StateSave(seq=0, key=7, n_tokens=BEGIN.size))
    pool.feed(0, MORE, start=BEGIN.size)

    failed = share(pool, 0, 1, BEGIN.size, 7)
    shared = pool.feed(1, QUESTION, start=BEGIN.size)
    source = pool.feed(0, QUESTION, start=BEGIN.size + MORE.size)

    ((key, n_bytes),) = saved.saved_states
    assert key == 7
    assert 0 < n_bytes == saved.copied_bytes <= pool.layout.most_bytes
    assert failed == ()
    assert_same(shared, cold(folder, kind, BEGIN, QUESTION), kind)
    assert_same(source, cold(folder, kind, BEGIN, MORE, QUESTION), kind)


@every(WINDOWS)
def test_a_window_that_has_gone_on_by_some_tokens_is_saved_as_it_was(
    pool: Stateful, folder: Path, kind: str
) -> None:
    pool.feed(0, BEGIN)
    tail = MORE[:9]
    pool.feed(0, tail, start=BEGIN.size)

    saved = pool.keep(StateSave(seq=0, key=7, n_tokens=BEGIN.size))
    source = pool.feed(0, QUESTION, start=BEGIN.size + tail.size)
    failed = share(pool, 0, 1, BEGIN.size, 7)
    shared = pool.feed(1, QUESTION, start=BEGIN.size)

    ((key, n_bytes),) = saved.saved_states
    assert key == 7
    assert 0 < n_bytes <= pool.layout.most_bytes
    assert failed == ()
    assert pool.context.length(SCRATCH) == 0
    assert_same(shared, cold(folder, kind, BEGIN, QUESTION), kind)
    assert_same(source, cold(folder, kind, BEGIN, tail, QUESTION), kind)


@every(WINDOWS)
def test_a_window_that_has_lost_what_it_held_is_not_saved(pool: Stateful) -> None:
    pool.feed(0, BEGIN)
    at = BEGIN.size
    # Others take the cells that it does not look at any more.
    for turn in range(3):
        for seq in range(STREAMS):
            more = tokens(BATCH, seed=10 + turn)
            pool.feed(seq, more, start=at if seq == 0 else turn * BATCH)
        at += BATCH
    assert pool.context.begin(0) > BEGIN.size

    kept = pool.keep(StateSave(seq=0, key=7, n_tokens=BEGIN.size))

    assert kept.failed_states == (7,)
    assert share(pool, 0, 1, BEGIN.size, 7) == (7,)
    assert pool.context.length(SCRATCH) == 0


@every(RECURRENT + HYBRID + BOTH)
def test_a_recurrent_state_is_saved_at_its_end_only(pool: Stateful) -> None:
    pool.feed(0, BEGIN)

    kept = pool.keep(StateSave(seq=0, key=7, n_tokens=BEGIN.size - 1))

    assert kept.failed_states == (7,)


@every(ALL)
def test_at_its_present_end_a_sequence_is_shared_without_a_checkpoint(
    pool: Stateful, folder: Path, kind: str
) -> None:
    pool.feed(0, BEGIN)

    pool.keep(SeqCopy(source=0, target=1, n_tokens=BEGIN.size))
    source = pool.feed(0, MORE, start=BEGIN.size)
    shared = pool.feed(1, QUESTION, start=BEGIN.size)

    assert_same(shared, cold(folder, kind, BEGIN, QUESTION), kind)
    assert_same(source, cold(folder, kind, BEGIN, MORE), kind)


@every(ALL)
def test_a_state_is_put_back_after_all_of_its_sequence_is_gone(
    pool: Stateful, folder: Path, kind: str
) -> None:
    pool.feed(0, BEGIN)
    pool.keep(StateSave(seq=0, key=1, n_tokens=BEGIN.size))
    starts = range(0, BEGIN.size, SLICE_CELLS) if pool.layout.has_cells else ()
    pieces = [
        (slab, start, min(SLICE_CELLS, BEGIN.size - start)) for slab, start in enumerate(starts)
    ]
    parked = pool.keep(
        *[
            SeqPark(seq=0, key=4, slab=slab, start=start, n_tokens=n_tokens)
            for slab, start, n_tokens in pieces
        ]
    )
    pool.keep(SeqTrim(seq=0, keep_tokens=0))
    pool.feed(2, MORE)  # other cells than before

    kept = pool.keep(
        *[
            SeqRestore(seq=3, key=4, slab=slab, start=start, n_tokens=n_tokens)
            for slab, start, n_tokens in pieces
        ],
        StateLoad(key=1, seq=3, n_tokens=BEGIN.size),
    )
    restored = pool.feed(3, QUESTION, start=BEGIN.size)

    assert parked.failed == kept.failed == kept.failed_states == ()
    assert_same(restored, cold(folder, kind, BEGIN, QUESTION), kind)
    assert pool.context.length(SCRATCH) == 0


@every(HYBRID)
def test_slabs_of_a_hybrid_hold_its_cells_and_not_its_state(pool: Stateful) -> None:
    pool.feed(0, BEGIN)

    pool.keep(SeqPark(seq=0, key=4, slab=0, start=0, n_tokens=SLICE_CELLS))

    ((_, n_bytes),) = pool.parked.lend(4)
    assert n_bytes < pool.layout.cells_bytes(SLICE_CELLS) + 1024
    assert pool.context.length(0) == BEGIN.size  # and the sequence keeps its own
    assert pool.context.length(EMPTY) == 0


@every(ALL)
def test_a_sequence_whose_state_cannot_be_exact_is_emptied(pool: Stateful) -> None:
    pool.feed(0, BEGIN)
    pool.keep(StateSave(seq=0, key=1, n_tokens=BEGIN.size))
    pool.feed(0, MORE, start=BEGIN.size)

    unknown = share(pool, 0, 1, BEGIN.size, key=99)
    one_less = share(pool, 0, 2, BEGIN.size - 1, key=1)

    assert (unknown, one_less) == ((99,), (1,))
    assert pool.context.whole_size(1) == pool.context.whole_size(2)
    assert pool.context.whole_size(1) == pool.context.whole_size(EMPTY)


@every(WITH_CELLS)
def test_a_state_put_in_before_the_cells_are_there_is_refused(pool: Stateful) -> None:
    pool.feed(0, BEGIN)
    pool.keep(StateSave(seq=0, key=1, n_tokens=BEGIN.size))
    pool.feed(0, MORE, start=BEGIN.size)

    kept = pool.keep(
        StateLoad(key=1, seq=1, n_tokens=BEGIN.size),
        SeqCopy(source=0, target=2, n_tokens=BEGIN.size - 40),
        StateLoad(key=1, seq=2, n_tokens=BEGIN.size),
    )

    assert kept.failed_states == (1, 1)
    assert pool.context.whole_size(1) == pool.context.whole_size(EMPTY)
    assert pool.context.whole_size(2) == pool.context.whole_size(EMPTY)


@every(ALL)
def test_a_load_that_did_nothing_is_found(pool: Stateful, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.feed(0, BEGIN)
    pool.keep(StateSave(seq=0, key=1, n_tokens=BEGIN.size))
    pool.feed(0, tokens(12 * WINDOW), start=BEGIN.size)  # its window is overwritten
    monkeypatch.setattr(llama.Context, "load_state", lambda *_: True)

    kept = pool.keep(
        SeqCopy(source=0, target=1, n_tokens=BEGIN.size),
        StateLoad(key=1, seq=1, n_tokens=BEGIN.size),
    )

    assert kept.failed_states == (1,)
    assert pool.context.length(1) == 0


@every([*RECURRENT, *HYBRID])
def test_a_load_of_other_bytes_is_found(pool: Stateful, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.feed(0, BEGIN)
    pool.keep(StateSave(seq=0, key=1, n_tokens=BEGIN.size))
    pool.feed(2, tokens(BEGIN.size, seed=9))
    pool.keep(StateSave(seq=2, key=2, n_tokens=BEGIN.size))
    other, n_bytes = pool.states.lend(2) or pytest.fail("it was saved")
    load_state = llama.Context.load_state
    monkeypatch.setattr(
        llama.Context, "load_state", lambda self, seq, *_: load_state(self, seq, other, n_bytes)
    )

    assert share(pool, 0, 1, BEGIN.size, key=1) == (1,)


@every(ALL)
def test_a_state_of_another_length_than_the_sequences_is_not_saved(pool: Stateful) -> None:
    pool.feed(0, BEGIN)

    kept = pool.keep(
        StateSave(seq=0, key=1, n_tokens=BEGIN.size + 1),
        StateSave(seq=1, key=2, n_tokens=10),
        StateLoad(key=2, seq=2, n_tokens=10),
    )

    assert kept.saved_states == ()
    assert kept.failed_states == (1, 2, 2)
    assert kept.copied_bytes == 0


@every(["delta net"])
def test_a_dropped_checkpoint_is_gone_and_its_memory_is_used_again(pool: Stateful) -> None:
    pool.feed(0, BEGIN)
    first = pool.keep(StateSave(seq=0, key=1, n_tokens=BEGIN.size))
    memory, n_bytes = pool.states.lend(1) or pytest.fail("it was saved")
    before = memory[:n_bytes].tobytes()

    pool.keep(StateDrop(key=1), StateDrop(key=1), ParkDrop(key=1))
    pool.feed(0, MORE, start=BEGIN.size)
    pool.keep(StateSave(seq=0, key=2, n_tokens=BEGIN.size + MORE.size))
    while_lent = memory[:n_bytes].tobytes()
    pool.states.take_back((memory, n_bytes))
    pool.keep(StateSave(seq=0, key=3, n_tokens=BEGIN.size + MORE.size))
    third, _ = pool.states.lend(3) or pytest.fail("it was saved")

    assert len(first.saved_states) == 1
    assert share(pool, 0, 1, BEGIN.size, key=1) == (1,)
    assert while_lent == before
    assert third is memory


@every(["delta net", "windows", "recurrent"])
def test_a_checkpoint_read_from_a_file_is_as_good_as_one_just_saved(
    folder: Path, kind: str
) -> None:
    with opened(folder, kind) as first:
        first.feed(3, BEGIN)
        first.keep(StateSave(seq=3, key=1, n_tokens=BEGIN.size))
        memory, n_bytes = first.states.lend(1) or pytest.fail("it was saved")
        on_disk = memory[:n_bytes].tobytes()

    with opened(folder, kind) as second:
        second.feed(0, BEGIN)
        second.feed(0, MORE, start=BEGIN.size)
        read = second.states.memory(len(on_disk))
        read[:] = np.frombuffer(on_disk, np.uint8)
        second.states.put(8, (read, len(on_disk)))
        failed = share(second, 0, 1, BEGIN.size, key=8)
        answer = second.feed(1, QUESTION, start=BEGIN.size)

    assert failed == ()
    assert_same(answer, cold(folder, kind, BEGIN, QUESTION), kind)


@every([*WINDOWS, *BOTH])
@pytest.mark.parametrize("seed", range(3))
def test_windows_never_run_out_with_every_sequence_in_use(pool: Stateful, seed: int) -> None:
    # A decode that finds no cells fails.
    RandomStreams(pool, seed).run(150)


class RandomStreams:
    """Streams that go on, share their ends and what they saved, and are given up, at random. There
    are as many as there is room for windows of, and each step finds cells used before."""

    def __init__(self, pool: Stateful, seed: int) -> None:
        self._pool = pool
        self._drawn = np.random.default_rng(seed)
        self._lengths = [0] * STREAMS
        # The sequence and the tokens of each checkpoint, by key.
        self._saved: dict[int, tuple[int, int]] = {}
        self._next_key = 1

    def run(self, n: int) -> None:
        acts = (self._go_on, self._share_end, self._share_saved, self._save, self._give_up)
        for _ in range(n):
            act = acts[int(self._drawn.choice(len(acts), p=(0.5, 0.15, 0.15, 0.15, 0.05)))]
            seq, other = self._drawn.permutation(STREAMS)[:2].tolist()
            act(seq, other)

    def _go_on(self, seq: int, other: int) -> None:
        n = int(self._drawn.integers(1, 2 * BATCH))
        if sum(self._lengths) + n > N_CELLS:
            self._give_up(seq, other)
            return
        self._pool.feed(seq, tokens(n, seed=n), start=self._lengths[seq])
        self._lengths[seq] += n

    def _share_end(self, seq: int, other: int) -> None:
        if n := self._lengths[seq]:
            self._give_up(other, seq)
            self._pool.keep(SeqCopy(source=seq, target=other, n_tokens=n))
            self._lengths[other] = n

    def _share_saved(self, seq: int, other: int) -> None:
        for key, (source, n) in list(self._saved.items()):
            if source == seq:
                self._give_up(other, seq)
                assert share(self._pool, source, other, n, key) == ()
                self._lengths[other] = n
                return

    def _save(self, seq: int, other: int) -> None:
        if n := self._lengths[seq]:
            kept = self._pool.keep(StateSave(seq=seq, key=self._next_key, n_tokens=n))
            assert kept.failed_states == ()
            self._saved[self._next_key] = (seq, n)
            self._next_key += 1

    def _give_up(self, seq: int, other: int) -> None:
        self._pool.keep(SeqTrim(seq=seq, keep_tokens=0))
        self._lengths[seq] = 0
        for key in [key for key, (source, _) in self._saved.items() if source == seq]:
            self._pool.keep(StateDrop(key=key))
            del self._saved[key]


@every(["windows"])
def test_shared_windows_would_run_out_if_each_were_not_made_its_sequences_own(
    pool: Stateful, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umad.engine.llamacpp.saved_states.OwnWindows.give", lambda *_: 1)

    with pytest.raises(AssertionError):
        RandomStreams(pool, 0).run(3_000)


# -- the trial -------------------------------------------------------------------------------------


@every(ALL)
def test_whether_states_work_is_found_out_by_doing_it(pool: Stateful, kind: str) -> None:
    layout = pool.layout

    pool.feed(0, BEGIN)

    assert layout.has_cells is (kind in WITH_CELLS)
    assert layout.is_fixed is (kind in [*RECURRENT, *HYBRID])
    assert pool.context.state_size(0) == layout.most_bytes
    assert pool.context.whole_size(0) == layout.most_bytes + layout.cells_bytes(BEGIN.size)


@every(["delta net", "windows", "recurrent"])
@pytest.mark.parametrize("broken", ["saves nothing", "loads nothing", "loads other bytes"])
def test_a_library_that_does_it_wrongly_fails_the_trial(
    pool: Stateful, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    load_state = llama.Context.load_state

    def other(self: llama.Context, seq: int, memory: Any, n_bytes: int) -> bool:
        changed = memory.copy()
        changed[-4:] ^= 1
        return load_state(self, seq, changed, n_bytes)

    match broken:
        case "saves nothing":
            monkeypatch.setattr(llama.Context, "save_state", lambda *_: 0)
        case "loads nothing":
            monkeypatch.setattr(llama.Context, "load_state", lambda *_: True)
        case _:
            monkeypatch.setattr(llama.Context, "load_state", other)

    tried = try_states(
        pool.context, n_seqs=N_SEQS, batch=BATCH, token=1, window_tokens=pool.model.sliding_window
    )

    assert tried is None
    assert pool.context.length(0) == pool.context.length(1) == 0


@every(["recurrent", "delta net"])
def test_one_sequence_is_enough_for_a_model_without_cells(folder: Path, kind: str) -> None:
    llama.start()
    with opened(folder, kind) as pool:
        shape = replace(options(), max_seqs=1)
        context = llama.Context(pool.model, shape)
        tried = try_states(context, n_seqs=1, batch=2, token=1)
        context.close()

    assert (tried is not None) is (kind == "recurrent")


@every(WITH_CELLS)
def test_whether_parking_beside_states_works_is_found_out_by_doing_it(
    pool: Stateful, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = pool.parked._shape
    empty = EMPTY if pool.model.is_recurrent else None
    sequences: dict[str, Any] = {"scratch": SCRATCH, "empty": empty, "token": 1}

    works = can_park(pool.context, shape, layout=pool.layout, **sequences)
    monkeypatch.setattr(llama.Context, "load", lambda *_: True)
    does_nothing = can_park(pool.context, shape, layout=pool.layout, **sequences)

    assert works
    assert not does_nothing
    assert pool.context.length(0) == 0


def test_every_kind_of_memory_is_one_that_keeps_states_or_one_that_does_not() -> None:
    assert {*KINDS, *MORE_KINDS} == {*ALL, *WITHOUT}


# -- memory ----------------------------------------------------------------------------------------


def test_memory_that_is_given_back_is_used_again_for_the_same_size_only() -> None:
    memory = HostMemory(1000)
    first = memory.take(400)
    memory.give(first)

    other, again = memory.take(100), memory.take(400)

    assert again is first
    assert other.size == 100
    assert memory.held_bytes == 500


def test_memory_of_one_size_is_freed_when_the_other_size_needs_the_room() -> None:
    memory = HostMemory(1000)
    slabs = [memory.take(300) for _ in range(3)]
    for slab in slabs:
        memory.give(slab)

    states = [memory.take(500) for _ in range(2)]

    assert memory.held_bytes == 1000
    for state in states:
        memory.give(state)
    memory.take(300)
    assert memory.held_bytes <= 1000
