"""Decides what umad gives up when the machine runs short of memory, and when it takes it back.

    MemoryReading ──strain_of──▶ Strain ──MemoryLadder.step──▶ Standing (its stage, and what moved)

A reading says how much room there is under each limit that holds for umad: the machine's memory,
and that of every control group above the daemon. The room that is shortest counts. Mapped weights
are not room, although the kernel may drop them, because they would be read from the disk again.

The stages are walked one at a time, down to the last and back up:

    nothing    umad uses all that it may
    prefixes   kept prefixes that no session needs leave host memory, and half of it stays in use
    parking    an eighth of it stays in use: what does not fit is computed again
    models     idle models are unloaded, the one first that was used longest ago

Going down is quick, since other programs take memory quickly. Going up is slow, and slower each
time that the shortage comes back: what was given up costs seconds to make again.
Pure: readings and times are handed in. Not: where readings come from
(`umad.daemon.pressure_sources`), nor carrying out (`umad.daemon.pressure`).
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

from umad.state_table import StateTable
from umad.units import NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRoom:
    """The room under one limit."""

    # "machine", or the path of a control group.
    name: str
    limit_bytes: int
    # What programs may still take before something must be swapped or read again.
    headroom_bytes: int
    # The share of the last ten seconds in which some, or all, of the tasks under this limit stood
    # still for want of memory. None where the platform does not tell.
    some_pct: float | None = None
    full_pct: float | None = None


class SystemLevel(enum.Enum):
    """The pressure as macOS tells it, under its own names and numbers."""

    NORMAL = 1
    WARN = 2
    CRITICAL = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReading:
    """Everything that was read at one moment."""

    rooms: tuple[MemoryRoom, ...] = ()
    level: SystemLevel | None = None

    @property
    def shortest(self) -> MemoryRoom | None:
        """The room with the least headroom; None where nothing could be read."""
        return min(self.rooms, key=lambda room: room.headroom_bytes, default=None)


class Strain(enum.IntEnum):
    """The shortage of memory, in four steps."""

    EASY = 0
    # Neither short nor plentiful: nothing changes.
    FAIR = 1
    TIGHT = 2
    SEVERE = 3


# Headroom below which memory is tight or severe, and above which it is easy: a share of the limit,
# but never more than so many bytes, because a program takes no more at once on a larger machine.
# 2 GB/s is what one core fills with new pages, and the guard looks twice a second.
_GIB = 2**30
_TIGHT = (0.08, 3 * _GIB)
_SEVERE = (0.04, 3 * _GIB // 2)
_EASY = (0.12, 9 * _GIB // 2)
# Percent of the last ten seconds. A start of a large program makes 1 or 2 (`some`).
_TIGHT_SOME_PCT = 10.0
_SEVERE_FULL_PCT = 10.0
_EASY_SOME_PCT = 1.0
_OF_LEVEL: Mapping[SystemLevel, Strain] = {
    SystemLevel.NORMAL: Strain.EASY,
    SystemLevel.WARN: Strain.TIGHT,
    SystemLevel.CRITICAL: Strain.SEVERE,
}


def strain_of(reading: MemoryReading) -> Strain:
    """The worst strain of all rooms. A reading that says nothing changes nothing.

    Where the system tells its level, only that counts: macOS compresses memory and keeps its cache
    large, so that headroom alone says little.
    """
    if reading.level is not None:
        return _OF_LEVEL[reading.level]
    return max([_strain(room) for room in reading.rooms], default=Strain.FAIR)


def _strain(room: MemoryRoom) -> Strain:
    some_pct, full_pct = room.some_pct or 0.0, room.full_pct or 0.0
    is_plentiful = not _is_below(room, _EASY)
    # Programs that stand still at a limit of their own show in the figures of all above them. So
    # stalls alone, beside plenty of room, are never severe.
    if _is_below(room, _SEVERE) or (full_pct >= _SEVERE_FULL_PCT and not is_plentiful):
        return Strain.SEVERE
    if _is_below(room, _TIGHT) or some_pct >= _TIGHT_SOME_PCT:
        return Strain.TIGHT
    return Strain.EASY if is_plentiful and some_pct < _EASY_SOME_PCT else Strain.FAIR


def _is_below(room: MemoryRoom, mark: tuple[float, int]) -> bool:
    share, most_bytes = mark
    return room.headroom_bytes < min(share * room.limit_bytes, most_bytes)


class Stage(enum.Enum):
    """The things that are given up. Each stage gives up those of the stages before it, too."""

    NOTHING = "nothing"
    PREFIXES = "prefixes"
    PARKING = "parking"
    MODELS = "models"

    @property
    def number(self) -> int:
        """The number of stages before it."""
        return list(Stage).index(self)


# The share of its host memory that an engine may use, by stage.
PARK_SHARE: Mapping[Stage, float] = {
    Stage.NOTHING: 1.0,
    Stage.PREFIXES: 0.5,
    Stage.PARKING: 0.125,
    Stage.MODELS: 0.125,
}


class Move(enum.Enum):
    """One step on the ladder."""

    GIVE_UP = "give_up"
    TAKE_BACK = "take_back"


# The order is that of the cost: a prefix is computed again in seconds, a model is read again.
NEXT: dict[tuple[Stage, Move], Stage] = {
    (Stage.NOTHING, Move.GIVE_UP): Stage.PREFIXES,
    (Stage.PREFIXES, Move.GIVE_UP): Stage.PARKING,
    (Stage.PARKING, Move.GIVE_UP): Stage.MODELS,
    # One more idle model each time.
    (Stage.MODELS, Move.GIVE_UP): Stage.MODELS,
    (Stage.MODELS, Move.TAKE_BACK): Stage.PARKING,
    (Stage.PARKING, Move.TAKE_BACK): Stage.PREFIXES,
    (Stage.PREFIXES, Move.TAKE_BACK): Stage.NOTHING,
}
LADDER = StateTable("the memory guard", NEXT)

# Time for a stage to show its effect before the next one. Severe shortage has no time.
SETTLE_NS = 2 * NS_PER_S
# So long memory must have been easy before one stage is taken back.
PATIENCE_NS = 30 * NS_PER_S
MOST_PATIENCE_NS = 480 * NS_PER_S
# A shortage that returns so soon after something was taken back makes the guard more patient.
_RETURNS_WITHIN_NS = 300 * NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The guard's stage, and the times that its next move depends on."""

    stage: Stage = Stage.NOTHING
    # The step that the latest reading led to; None for none.
    moved: Move | None = None
    # When the guard moved last in either direction, and when it took something back last; None for
    # never.
    moved_ns: int | None = None
    taken_back_ns: int | None = None
    # Since when memory has been easy without a break; None where it is not.
    easy_since_ns: int | None = None
    patience_ns: int = PATIENCE_NS


class MemoryLadder:
    """Walks the stages, one reading after another. Owner: whoever reads."""

    def __init__(self) -> None:
        self.standing = Standing()

    def step(self, strain: Strain, now_ns: int) -> Standing:
        """Book one more reading; at most one stage is walked. now_ns never falls."""
        self.standing = stepped(self.standing, strain, now_ns)
        return self.standing


def stepped(standing: Standing, strain: Strain, now_ns: int) -> Standing:
    """The standing after one more reading."""
    still = replace(standing, moved=None)
    match strain:
        case Strain.FAIR:
            return replace(still, easy_since_ns=None)
        case Strain.EASY:
            since_ns = now_ns if still.easy_since_ns is None else still.easy_since_ns
            return _take_back(replace(still, easy_since_ns=since_ns), now_ns)
        case Strain.TIGHT | Strain.SEVERE:
            return _give_up(replace(still, easy_since_ns=None), strain, now_ns)


def _give_up(standing: Standing, strain: Strain, now_ns: int) -> Standing:
    settles = standing.stage is not Stage.NOTHING and strain is not Strain.SEVERE
    if settles and now_ns - (standing.moved_ns or 0) < SETTLE_NS:
        return standing
    taken_back_ns = standing.taken_back_ns
    returns = taken_back_ns is not None and now_ns - taken_back_ns < _RETURNS_WITHIN_NS
    return replace(
        standing,
        stage=LADDER.after(standing.stage, Move.GIVE_UP),
        moved=Move.GIVE_UP,
        moved_ns=now_ns,
        # Counted once for each return.
        taken_back_ns=None,
        patience_ns=min(MOST_PATIENCE_NS, 2 * standing.patience_ns)
        if returns
        else standing.patience_ns,
    )


def _take_back(standing: Standing, now_ns: int) -> Standing:
    if standing.stage is Stage.NOTHING:
        taken_back_ns = standing.taken_back_ns
        if taken_back_ns is not None and now_ns - taken_back_ns >= _RETURNS_WITHIN_NS:
            return replace(standing, patience_ns=PATIENCE_NS, taken_back_ns=None)
        return standing
    waits_since_ns = max(standing.easy_since_ns or now_ns, standing.moved_ns or 0)
    if now_ns - waits_since_ns < standing.patience_ns:
        return standing
    return replace(
        standing,
        stage=LADDER.after(standing.stage, Move.TAKE_BACK),
        moved=Move.TAKE_BACK,
        moved_ns=now_ns,
        taken_back_ns=now_ns,
    )
