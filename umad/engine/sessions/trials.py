"""Follows what was read from files until a step has run on it, because it may end the engine.

A file is checked before llama.cpp is given it (`sessions.file`), but no check of ours tells whether
llama.cpp survives it. Its folder keeps a mark beside the file from the moment it is read. Here is
known when the mark may go: once a step has run on a sequence that got the file's cells and state
back, or once they are dropped. If the engine ends before that, the next one finds the mark and
removes the file (`SessionFolder`).
Not: marks and files themselves. Owner: the step thread.
"""

from collections.abc import Callable

from umad.engine.execution import Decoded, StepRunner
from umad.step import (
    DiskDone,
    HouseKept,
    MemoryOp,
    ParkDrop,
    SeqRestore,
    SeqTrim,
    SessionFetch,
    StateDrop,
    StateLoad,
    StepPlan,
)

# Slabs and checkpoints have numbers of their own, so a number alone does not tell which it is.
_Key = tuple[str, int]


class Trials:
    """What was read from files and has not been seen to work yet.

    passed, failed: are told the name of a session, and begin what is to be done with its file.
    """

    def __init__(self, *, passed: Callable[[str], None], failed: Callable[[str], None]) -> None:
        self._passed = passed
        self._failed = failed
        self._sessions: dict[_Key, str] = {}
        # Sequences that got some of it back, and no step has run on them since.
        self._running: dict[int, set[_Key]] = {}

    def begin(self, fetch: SessionFetch) -> None:
        """A file was read: its slabs and states may be put back from now on."""
        for key, _ in fetch.states:
            self._sessions["state", key] = fetch.session
        if fetch.rooms:
            self._sessions["slabs", fetch.key] = fetch.session

    def kept(self, operations: tuple[MemoryOp, ...], house: HouseKept) -> None:
        """Memory operations were carried out."""
        if not self._sessions:
            return
        for operation in operations:
            match operation:
                case SeqRestore():
                    self._put_back(("slabs", operation.key), operation.seq, house.failed)
                case StateLoad():
                    self._put_back(("state", operation.key), operation.seq, house.failed_states)
                case ParkDrop():
                    self._end(("slabs", operation.key))
                case StateDrop():
                    self._end(("state", operation.key))
                case SeqTrim() if not operation.keep_tokens:
                    self._running.pop(operation.seq, None)
                case _:
                    pass

    def ran(self, plan: StepPlan) -> None:
        """A step ran to its end."""
        if not self._running:
            return
        for seq in [*(row.seq for row in plan.decode), *(piece.seq for piece in plan.prefill)]:
            for key in self._running.pop(seq, ()):
                self._end(key)

    def end(self) -> None:
        """Nothing more will be put back, and the engine has lived until now."""
        for key in list(self._sessions):
            self._end(key)

    def _put_back(self, key: _Key, seq: int, failed: tuple[int, ...]) -> None:
        session = self._sessions.get(key)
        if session is None:
            return
        if key[1] not in failed:
            self._running.setdefault(seq, set()).add(key)
            return
        for other in [one for one, name in self._sessions.items() if name == session]:
            del self._sessions[other]
        self._failed(session)

    def _end(self, key: _Key) -> None:
        session = self._sessions.pop(key, None)
        if session is not None and session not in self._sessions.values():
            self._passed(session)


class TriedRunner:
    """A runner that tells `Trials` what its plans did. `StepRunner` says what it has to do."""

    def __init__(self, runner: StepRunner, trials: Trials) -> None:
        self._runner = runner
        self._trials = trials

    def keep_house(self, operations: tuple[MemoryOp, ...]) -> HouseKept:
        """Carry out memory operations."""
        house = self._runner.keep_house(operations)
        self._trials.kept(operations, house)
        return house

    def run(self, plan: StepPlan) -> Decoded:
        """Run one step. Raises `EngineFailed` when the backend cannot go on."""
        decoded = self._runner.run(plan)
        self._trials.kept(plan.memory, decoded.house)
        if decoded.outcome == "done":
            self._trials.ran(plan)
        return decoded

    def disk_done(self, report: DiskDone) -> None:
        """A session was written or read, or could not be."""
        self._runner.disk_done(report)

    def lengths(self, plan: StepPlan) -> tuple[tuple[int, int], ...]:
        """(seq, tokens in the KV) of the plan's prefill sequences."""
        return self._runner.lengths(plan)
