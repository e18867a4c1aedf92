"""Sessions on their way to disk and back: what is lent, what is kept, what is tried only once."""

from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.live import wait_until
from umad.engine.sessions.disk import SessionDisk
from umad.engine.sessions.file import Slab
from umad.engine.sessions.folder import SessionFolder
from umad.step import (
    DecodeSlice,
    DiskDone,
    HouseKept,
    ParkDrop,
    PrefillSlice,
    SeqPark,
    SeqRestore,
    SeqTrim,
    SessionFetch,
    SessionOp,
    SessionSave,
    StateDrop,
    StateLoad,
    StateSave,
    StepPlan,
)

ABOUT = {"format": 2}
TOKENS = np.arange(9, dtype=np.int32)
SLAB_BYTES, STATE_BYTES = 16, 32
SEQ = 3


class HostSlabs:
    """Slabs that come from nowhere. Counts the memory that is out."""

    def __init__(self) -> None:
        self.slabs: dict[int, list[Slab]] = {}
        self.n_out = 0
        self.n_lent = 0

    def park(self, operation: SeqPark) -> int:
        raise AssertionError(operation)

    def restore(self, operation: SeqRestore) -> int:
        raise AssertionError(operation)

    def drop(self, key: int) -> None:
        self.n_out -= len(self.slabs.pop(key, []))

    def lend(self, key: int) -> list[Slab]:
        self.n_lent += len(self.slabs.get(key, []))
        return self.slabs.get(key, [])

    def take_back(self, slabs: list[Slab]) -> None:
        self.n_lent -= len(slabs)

    def put(self, key: int, slabs: list[Slab]) -> None:
        self.slabs[key] = slabs

    def memory(self, rooms: int = 1) -> NDArray[np.uint8]:
        self.n_out += 1
        return np.zeros(rooms * SLAB_BYTES, np.uint8)


class HostStates:
    """Checkpoints that come from nowhere. Counts the memory that is out."""

    def __init__(self) -> None:
        self.states: dict[int, Slab] = {}
        self.n_out = 0
        self.n_lent = 0
        self.is_full = False

    def save(self, operation: StateSave) -> int:
        raise AssertionError(operation)

    def load(self, operation: StateLoad) -> int:
        raise AssertionError(operation)

    def drop(self, key: int) -> None:
        self.n_out -= self.states.pop(key, None) is not None

    def lend(self, key: int) -> Slab | None:
        self.n_lent += key in self.states
        return self.states.get(key)

    def take_back(self, state: Slab) -> None:
        self.n_lent -= 1

    def put(self, key: int, state: Slab) -> None:
        self.states[key] = state

    def memory(self, n_bytes: int) -> NDArray[np.uint8]:
        if self.is_full:
            raise MemoryError
        self.n_out += 1
        return np.zeros(n_bytes, np.uint8)


def part(data: bytes) -> Slab:
    return np.frombuffer(data, np.uint8), len(data)


def content(slab: Slab) -> bytes:
    return slab[0][: slab[1]].tobytes()


class Engine:
    """The parts of an engine that sessions pass through."""

    def __init__(self, root: Path, *, has_cells: bool = True) -> None:
        self.slabs = HostSlabs()
        self.states = HostStates()
        self.mail: Queue[DiskDone] = Queue()
        self.folder = SessionFolder(root, model=Path("m.gguf"), about=ABOUT, most_bytes=1 << 20)
        self.disk = SessionDisk(
            self.folder,
            self.slabs if has_cells else None,
            states=self.states,
            state_bytes=STATE_BYTES,
            put=self.mail.put,
            now_ns=lambda: 0,
        )

    def does(self, operation: SessionOp) -> bool:
        self.disk.begin(operation)
        return self.hears_of(operation)

    def hears_of(self, operation: SessionOp) -> bool:
        report = self.mail.get(timeout=60)
        assert report.operation is operation
        self.disk.done(report)
        return report.ok

    def files(self) -> list[Path]:
        return sorted(self.folder.path.glob("*.kv"))

    def marks(self) -> list[Path]:
        return sorted(self.folder.path.glob("*.tried"))

    def runs(self, *seqs: int, prefill: int | None = None) -> None:
        plan = StepPlan(
            decode=tuple(DecodeSlice(1, seq, 9, 5) for seq in seqs),
            prefill=()
            if prefill is None
            else (PrefillSlice(rid=2, seq=prefill, start=9, tokens=TOKENS[:1], wants_logits=True),),
        )
        self.disk.trials.ran(plan)

    def waits_for_no_marks(self) -> None:
        wait_until(lambda: not self.marks(), what="the end of the mark")


SAVE = SessionSave(session="chat", key=1, tokens=TOKENS, states=((5, 4), (6, 9)))
FETCH = SessionFetch(session="chat", key=2, rooms=(1, 1), tokens=TOKENS, states=((7, 9),))
LOAD = StateLoad(key=7, seq=SEQ, n_tokens=9)
RESTORE = SeqRestore(key=2, slab=0, seq=SEQ, start=0, n_tokens=4)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path / "sessions")
    made.slabs.slabs[1] = [part(b"cells"), part(b"more")]
    made.states.states |= {5: part(b"after four"), 6: part(b"after nine")}
    yield made
    made.folder.close()


@pytest.fixture
def fetched(engine: Engine) -> Engine:
    assert engine.does(SAVE)
    assert engine.does(FETCH)
    return engine


def test_cells_and_state_go_to_disk_and_come_back(engine: Engine) -> None:
    assert engine.does(SAVE)
    assert (engine.slabs.n_lent, engine.states.n_lent) == (0, 0)

    assert engine.does(FETCH)

    assert [content(one) for one in engine.slabs.slabs[2]] == [b"cells", b"more"]
    assert content(engine.states.states[7]) == b"after nine"


def test_a_model_of_states_alone_has_its_state_in_a_file(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "sessions", has_cells=False)
    engine.states.states[6] = part(b"after nine")

    assert engine.does(SessionSave(session="chat", key=0, tokens=TOKENS, states=((6, 9),)))
    assert engine.does(
        SessionFetch(session="chat", key=0, rooms=(), tokens=TOKENS, states=((7, 9),))
    )

    assert content(engine.states.states[7]) == b"after nine"
    engine.folder.close()


def test_a_session_whose_state_is_gone_is_not_written(engine: Engine) -> None:
    del engine.states.states[6]

    assert not engine.does(SAVE)

    assert not engine.files()
    assert (engine.slabs.n_lent, engine.states.n_lent) == (0, 0)


@pytest.mark.parametrize("at", [30, -30, -5])
def test_of_a_damaged_file_nothing_is_kept_and_its_memory_is_given_back(
    engine: Engine, at: int
) -> None:
    assert engine.does(SAVE)
    (path,) = engine.files()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)

    assert not engine.does(FETCH)

    assert 2 not in engine.slabs.slabs
    assert 7 not in engine.states.states
    assert (engine.slabs.n_out, engine.states.n_out) == (0, 0)
    assert not engine.files()
    assert not engine.marks()


def test_without_memory_for_the_state_the_file_is_not_read_and_stays(engine: Engine) -> None:
    assert engine.does(SAVE)
    engine.states.is_full = True

    assert not engine.does(FETCH)

    assert (engine.slabs.n_out, engine.states.n_out) == (0, 0)
    assert engine.files()


def test_a_file_is_marked_until_a_step_has_run_on_all_that_was_read_of_it(fetched: Engine) -> None:
    assert fetched.marks()

    fetched.runs(SEQ)  # nothing of the file is in the sequence yet
    fetched.disk.trials.kept((RESTORE, LOAD), HouseKept())
    fetched.runs(SEQ + 1)
    assert fetched.marks()
    fetched.runs(prefill=SEQ)

    fetched.waits_for_no_marks()
    assert fetched.files()


def test_a_file_stays_marked_while_only_its_cells_have_been_seen_to_work(fetched: Engine) -> None:
    fetched.disk.trials.kept((RESTORE,), HouseKept())
    fetched.runs(SEQ)
    assert fetched.marks()

    fetched.disk.trials.kept((LOAD,), HouseKept())
    fetched.runs(SEQ)

    fetched.waits_for_no_marks()


def test_a_sequence_that_was_emptied_before_its_step_proves_nothing(fetched: Engine) -> None:
    trials = fetched.disk.trials
    trials.kept((RESTORE, LOAD, SeqTrim(seq=SEQ, keep_tokens=0)), HouseKept())
    fetched.runs(SEQ)
    assert fetched.marks()

    trials.kept((RESTORE, LOAD), HouseKept())
    fetched.runs(SEQ)

    fetched.waits_for_no_marks()


def test_what_is_dropped_unused_takes_its_mark_along(fetched: Engine) -> None:
    # The first seven is a number of slabs, and the file's is one of a state.
    fetched.disk.trials.kept((ParkDrop(key=7), ParkDrop(key=2)), HouseKept())
    assert fetched.marks()

    fetched.disk.trials.kept((StateDrop(key=7),), HouseKept())

    fetched.waits_for_no_marks()
    assert fetched.files()


@pytest.mark.parametrize("house", [HouseKept(failed=(2,)), HouseKept(failed_states=(7,))])
def test_a_file_that_could_not_be_put_back_is_removed(fetched: Engine, house: HouseKept) -> None:
    fetched.disk.trials.kept((RESTORE, LOAD), house)

    wait_until(lambda: not fetched.files(), what="the end of the file")
    fetched.waits_for_no_marks()


def test_an_engine_that_ends_as_it_was_told_leaves_no_mark(fetched: Engine) -> None:
    fetched.disk.end()

    fetched.waits_for_no_marks()
    assert fetched.files()


def test_what_was_never_in_a_file_is_nobodys_business(engine: Engine) -> None:
    engine.disk.trials.kept((RESTORE, LOAD), HouseKept(failed_states=(7,)))
    engine.runs(SEQ)
    assert engine.does(SAVE)

    assert engine.files()
    assert not engine.marks()
