"""Lays out the device board: a page of shared memory on which engines see each other's work.

Engines of different models share one device but no scheduler. Each has a seat of its own on the
board, and writes only there; no lock, no broker, no message. Every field is one aligned 8-byte word
with one writer, so a reader sees at worst a value that is one step old. The times in a dead
engine's seat grow old, and then its values no longer count. The daemon makes the page and hands its
descriptor to every engine (`umad.daemon.device_board`).
Imports next to nothing: an engine looks at the page before it has imported the rest of itself
(`umad.engine.start`). Not: one engine's use of its seat (`seat`).
"""

import mmap
from collections.abc import MutableSequence

# Version of the layout. Engines and daemon are one version of umad, so this only finds mistakes.
LAYOUT = 5
SEATS = 64
# Each seat has two cache lines of its own, so that writers do not take each other's lines away.
WORDS_PER_SEAT = 16
BOARD_BYTES = (SEATS + 1) * WORDS_PER_SEAT * 8
# An engine whose last interactive step was this long ago hangs or is dead, so it counts as idle.
STALE_NS = 2_000_000_000
# A step or a load that began this long ago, and has told nothing since, counts as over.
LONGEST_NS = 20_000_000_000
# An engine that was to wake this long ago, and has moved nothing since, still counts as waiting: a
# crowded machine wakes it late.
LATE_NS = 100_000_000

# Words of the page's head, which stands before the seats.
LAYOUT_WORD, SEATS_TAKEN = 0, 1
# Words of a seat. MAY_STOP is 1 while the engine loads and measures nothing: then the daemon may
# stop its process for a while (`umad.daemon.load_pauses`). The mailbox thread writes arrived_ns,
# the step thread the others.
(
    ARRIVED_NS,
    STEPPED_NS,
    INTERACTIVE,
    INTERACTIVE_BYTES,
    BACKGROUND_BYTES,
    RATE,
    WAITS_UNTIL_NS,
    STEPS,
    COMPUTES_NS,
    MAY_STOP,
) = range(10)

BoardWords = MutableSequence[int]


def lay_out(words: BoardWords) -> None:
    """Make an empty board of zeroed memory."""
    words[LAYOUT_WORD] = LAYOUT


def take_seat(words: BoardWords, seat: int) -> None:
    """Seat an engine that is about to start, and wipe what the last one left. Daemon only."""
    at = (seat + 1) * WORDS_PER_SEAT
    for word in range(at, at + WORDS_PER_SEAT):
        words[word] = 0
    words[SEATS_TAKEN] = max(words[SEATS_TAKEN], seat + 1)


def is_interactive(words: BoardWords, seat: int, now_ns: int) -> bool:
    """Whether the engine of that seat has interactive work, or has just been handed some."""
    at = (seat + 1) * WORDS_PER_SEAT
    arrived_ns, stepped_ns = words[at + ARRIVED_NS], words[at + STEPPED_NS]
    if arrived_ns > stepped_ns:  # its step thread has not looked yet
        return abs(now_ns - arrived_ns) < STALE_NS
    return words[at + INTERACTIVE] > 0 and abs(now_ns - stepped_ns) < STALE_NS


def anybody_is_interactive(words: BoardWords, now_ns: int) -> bool:
    """Whether any engine has interactive work."""
    return any(
        is_interactive(words, seat, now_ns) for seat in range(min(words[SEATS_TAKEN], SEATS))
    )


def may_stop(words: BoardWords, seat: int) -> bool:
    """Whether the process of that seat may be stopped for a while."""
    return words[(seat + 1) * WORDS_PER_SEAT + MAY_STOP] == 1


def let_stop(words: BoardWords, seat: int, may: bool) -> None:
    """Say whether the process of that seat may be stopped for a while. Only the engine itself."""
    words[(seat + 1) * WORDS_PER_SEAT + MAY_STOP] = int(may)


def others_are_interactive(words: BoardWords, own_seat: int, now_ns: int) -> bool:
    """Whether any engine but that of `own_seat` has interactive work."""
    return any(
        is_interactive(words, seat, now_ns)
        for seat in range(min(words[SEATS_TAKEN], SEATS))
        if seat != own_seat
    )


def words_of(page: "mmap.mmap | bytearray") -> BoardWords:
    """The page as numbers, without a copy: one store or load of 8 bytes each."""
    return memoryview(page)[:BOARD_BYTES].cast("q")  # type: ignore[return-value]
