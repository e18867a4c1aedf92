"""Decides which models leave so that another one has room, or how long that one waits.

    Wish, Residents, Limits ──decide──▶ Decision: it may start; or these leave; or it waits, and why

Two things limit models: `max_models`, and the memory. Those that leave are chosen in this order:

    1. models that nobody uses, the one first that was used longest ago
    2. models with background work only, the one first that was loaded longest ago
    3. models with interactive work, likewise

A model without work leaves at once. One at work is made to yield, after the wish has waited for as
long as `_PATIENCE_NS` says: it takes nothing new, what runs ends, and what does not end within
`YIELD_NS` goes on when the model is loaded again. So every wish is granted in the end, however busy
the others are.
No model leaves soon after it was loaded, and the longer its load took, the longer it stays: loads
take a third of the time at most when several models take turns.
A pinned model never leaves. Nobody leaves for a model that would not fit even then: its own load
says so, with its figures. Nor does anybody leave for one that nobody waits for (`preload`).
Pure: times are handed in. Not: carrying out (`umad.daemon.rotation`), nor what is given up while
the machine is short of memory (`umad.memory_pressure`).
"""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from umad.estimate import bytes_words
from umad.units import NS_PER_S


class Work(enum.IntEnum):
    """What a model has to do, or what is wanted of one."""

    NONE = 0
    BACKGROUND = 1
    INTERACTIVE = 2


class Stand(enum.Enum):
    """What a model that holds memory is about to do."""

    STARTING = "starting"
    SETTLED = "settled"
    # It takes nothing new, and leaves once what runs has ended.
    YIELDING = "yielding"
    # Its process ends.
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """The memory that a model takes."""

    # With a context in which one can work.
    good_bytes: int
    # With the least context that it is ever loaded with.
    least_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A model that is asked for and not loaded."""

    name: str
    need: Need
    # A load that somebody waits for counts as interactive. `NONE` is one that nobody waits for: it
    # goes well where there is room, and nobody leaves for it.
    work: Work
    since_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A model that holds memory."""

    name: str
    n_bytes: int
    stand: Stand = Stand.SETTLED
    work: Work = Work.NONE
    is_pinned: bool = False
    # When it was ready, and how long its load had taken.
    ready_ns: int = 0
    load_ns: int = 0
    # When somebody used it last.
    used_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What all models together may have."""

    # None for as many as the memory holds.
    max_models: int | None = None
    # None where it is not known.
    memory_bytes: int | None = None
    # One model at a time is loaded, because each takes the memory that those before it have left.
    loads_in_turn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be done about a wish. Without `starts` and `leave` it waits."""

    starts: bool = False
    # The models that leave now, in order: one without work at once, one at work by yielding.
    leave: tuple[str, ...] = ()
    # Why it does not start, in words that complete "NAME waits: ".
    why: str = ""
    # When to decide again at the latest; None where only news can change anything.
    again_ns: int | None = None
    # Nothing that may happen by itself would make room.
    never: bool = False


# A loaded model stays for so many times as long as its load took, within these bounds.
_STAY_LOADS = 2
_LEAST_STAY_NS = 2 * NS_PER_S
_MOST_STAY_NS = 60 * NS_PER_S
# How long a wish waits before a model at work yields, by the work of the wish and of the model.
# Somebody sits before interactive work, and background work only takes longer.
_PATIENCE_NS = {
    (Work.INTERACTIVE, Work.BACKGROUND): 2 * NS_PER_S,
    (Work.INTERACTIVE, Work.INTERACTIVE): 10 * NS_PER_S,
    (Work.BACKGROUND, Work.BACKGROUND): 20 * NS_PER_S,
    (Work.BACKGROUND, Work.INTERACTIVE): 60 * NS_PER_S,
}
# Background work that has waited so long counts as interactive, so that it is not left out.
_AGES_NS = 60 * NS_PER_S
# What runs on a model that yields has so long to end.
YIELD_NS = 20 * NS_PER_S


def decide(wish: Wish, residents: Sequence[Resident], limits: Limits, now_ns: int) -> Decision:
    """What to do for the first wish in line. residents: without the wished model itself."""
    starting = [one.name for one in residents if one.stand is Stand.STARTING]
    if limits.loads_in_turn and starting:
        return Decision(why=_said(starting, "is", "are", "being loaded"))
    room = _Room(wish, residents, limits)
    if room.is_enough(()):
        return Decision(starts=True)
    going = [one for one in residents if _goes(one)]
    if room.is_enough(going):
        return Decision(why=_said([one.name for one in going], "ends", "end", "first"))
    if wish.work is Work.NONE:
        return _without_room_for_nobody(residents, starting)
    able = [one for one in residents if one.stand is Stand.SETTLED and not one.is_pinned]
    order = sorted(able, key=_leaves_first)
    leave: list[Resident] = []
    for one in order:
        leave.append(one)
        if room.is_enough([*going, *leave]):
            break
    else:
        return _without_room(room, residents, starting)
    # Those that came in before and turn out not to be needed may stay.
    for one in list(leave):
        rest = [other for other in leave if other is not one]
        if room.is_enough([*going, *rest]):
            leave = rest
    again_ns = max(_may_leave_ns(one, wish, now_ns) for one in leave)
    names = tuple(one.name for one in leave)
    if now_ns < again_ns:
        return Decision(why=_still(leave), again_ns=again_ns)
    return Decision(leave=names, why=_said(names, "ends", "end", "first"))


def in_line(wishes: Iterable[Wish], now_ns: int) -> list[Wish]:
    """The wishes in the order in which they are granted."""
    return sorted(wishes, key=lambda one: (-standing(one, now_ns), one.since_ns))


def least_stay_ns(load_ns: int) -> int:
    """How long a model stays after a load that took `load_ns`."""
    return min(_MOST_STAY_NS, max(_LEAST_STAY_NS, _STAY_LOADS * load_ns))


class _Room:
    """How much has to be free for one wish."""

    def __init__(self, wish: Wish, residents: Sequence[Resident], limits: Limits) -> None:
        self._residents = residents
        self.limits = limits
        self._n_bytes = _wanted_bytes(wish, residents, limits)

    def is_enough(self, gone: Iterable[Resident]) -> bool:
        """Whether the wish has room once `gone` have left."""
        names = {one.name for one in gone}
        left = [one for one in self._residents if one.name not in names]
        return self.has_place(left) and self._has_memory(left)

    def has_place(self, left: Sequence[Resident]) -> bool:
        most = self.limits.max_models
        return most is None or len(left) < most

    def _has_memory(self, left: Sequence[Resident]) -> bool:
        memory_bytes = self.limits.memory_bytes
        if memory_bytes is None or self._n_bytes is None:
            return True
        return sum(one.n_bytes for one in left) + self._n_bytes <= memory_bytes


def _wanted_bytes(wish: Wish, residents: Sequence[Resident], limits: Limits) -> int | None:
    """The bytes to make free; None where no number of models that leave would be enough, so that
    none has to.
    """
    if limits.memory_bytes is None:
        return None
    stays_bytes = sum(one.n_bytes for one in residents if one.is_pinned and not _goes(one))
    for n_bytes in (wish.need.good_bytes, wish.need.least_bytes):
        if n_bytes + stays_bytes <= limits.memory_bytes:
            return n_bytes
    return None


def _without_room(room: _Room, residents: Sequence[Resident], starting: Sequence[str]) -> Decision:
    """The decision where those that may leave now are not enough."""
    if starting:
        return Decision(why=_said(starting, "is", "are", "being loaded"))
    pinned = [one for one in residents if one.is_pinned]
    if not room.has_place(pinned):
        names = _said([one.name for one in pinned], "is", "are", "pinned")
        return Decision(
            never=True,
            why=f"max_models is {room.limits.max_models}, and {names} (keep_alive -1): unload "
            "one, or raise max_models",
        )
    held_bytes = sum(one.n_bytes for one in residents)
    return Decision(why=f"other models hold {bytes_words(held_bytes)}")


def _without_room_for_nobody(residents: Sequence[Resident], starting: Sequence[str]) -> Decision:
    """The decision about a load that nobody waits for, where others would have to leave."""
    if starting:
        return Decision(why=_said(starting, "is", "are", "being loaded"))
    names = _said([one.name for one in residents], "has", "have", "the room")
    return Decision(never=True, why=f"{names}, and nobody asks for it yet")


def _goes(one: Resident) -> bool:
    return one.stand in (Stand.YIELDING, Stand.LEAVING)


def standing(wish: Wish, now_ns: int) -> Work:
    """How urgent a wish is by now."""
    ages = wish.work is not Work.NONE and now_ns - wish.since_ns >= _AGES_NS
    return Work.INTERACTIVE if ages else wish.work


def _leaves_first(one: Resident) -> tuple[int, int]:
    return (one.work, one.used_ns if one.work is Work.NONE else one.ready_ns)


def _may_leave_ns(one: Resident, wish: Wish, now_ns: int) -> int:
    stays_ns = one.ready_ns + least_stay_ns(one.load_ns)
    if one.work is Work.NONE:
        return stays_ns
    patience_ns = _PATIENCE_NS[standing(wish, now_ns), one.work]
    return max(stays_ns, wish.since_ns + patience_ns)


def _still(leave: Sequence[Resident]) -> str:
    """Why these do not leave yet."""
    busy = [one.name for one in leave if one.work is not Work.NONE]
    if busy:
        return _said(busy, "is", "are", "at work")
    return _said([one.name for one in leave], "was", "were", "loaded just now")


def _said(names: Sequence[str], of_one: str, of_several: str, rest: str) -> str:
    """A sentence about some models."""
    if len(names) == 1:
        return f"{names[0]} {of_one} {rest}"
    return f"{', '.join(names[:-1])} and {names[-1]} {of_several} {rest}"
