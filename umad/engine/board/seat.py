"""Keeps the device board: a page of shared memory on which engines see each other's work.

Engines of different models share one device but no scheduler. Each has a seat of its own on the
board, writes only there, and reads the others' before it plans; no lock, no broker, no message.
Every field is one aligned 8-byte word with one writer, so a reader sees at worst a value that is
one step old. The times in a dead engine's seat grow old, and then its values no longer count. The
daemon makes the page and hands its descriptor to every engine (`umad.daemon.device_board`).
Not: what to do about it (`umad.scheduler.steps.neighbours`). Threads: as each method says.
"""

import mmap
from collections.abc import MutableSequence

from umad.scheduler.steps.neighbours import NOBODY, Neighbours

# Version of the layout. Engines and daemon are one version of umad, so this only finds mistakes.
LAYOUT = 2
SEATS = 64
# Each seat is a cache line of its own, so that writers do not take each other's lines away.
WORDS_PER_SEAT = 8
BOARD_BYTES = (SEATS + 1) * WORDS_PER_SEAT * 8
# An engine whose last interactive step was this long ago hangs or is dead, so it counts as idle.
STALE_NS = 2_000_000_000
# An engine that was to wake this long ago, and has moved nothing since, still counts as waiting: a
# crowded machine wakes it late.
LATE_NS = 100_000_000

# Words of the page's head, which stands before the seats.
_LAYOUT, _SEATS_TAKEN = 0, 1
# Words of a seat. The mailbox thread writes arrived_ns, the step thread the others.
(
    _ARRIVED_NS,
    _STEPPED_NS,
    _INTERACTIVE,
    _INTERACTIVE_BYTES,
    _BACKGROUND_BYTES,
    _RATE,
    _WAITS_UNTIL_NS,
) = range(7)

BoardWords = MutableSequence[int]


def lay_out(words: BoardWords) -> None:
    """Make an empty board of zeroed memory."""
    words[_LAYOUT] = LAYOUT


def take_seat(words: BoardWords, seat: int) -> None:
    """Seat an engine that is about to start, and wipe what the last one left. Daemon only."""
    at = (seat + 1) * WORDS_PER_SEAT
    for word in range(at, at + WORDS_PER_SEAT):
        words[word] = 0
    words[_SEATS_TAKEN] = max(words[_SEATS_TAKEN], seat + 1)


class BoardSeat:
    """One engine's seat, and its view of the others.

    words: the page as signed 8-byte numbers.
    """

    def __init__(self, words: BoardWords, seat: int) -> None:
        self._words = words
        self._seat = seat
        self._at = (seat + 1) * WORDS_PER_SEAT
        # (interactive, background) bytes of each other seat at the last look.
        self._seen: dict[int, tuple[int, int]] = {}
        self._looked_ns = 0

    @classmethod
    def opened(cls, fd: int, seat: int) -> "BoardSeat":
        """Take the seat on the page behind `fd`. The page is mapped, so `fd` may be closed
        afterwards.
        """
        return cls(words_of(mmap.mmap(fd, BOARD_BYTES)), seat)

    @classmethod
    def alone(cls) -> "BoardSeat":
        """Make a seat on a private page, for an engine with no neighbours."""
        words = words_of(bytearray(BOARD_BYTES))
        take_seat(words, 0)
        return cls(words, 0)

    def arrived(self, now_ns: int) -> None:
        """Show that interactive work is on its way to the step thread. Mailbox thread."""
        self._words[self._at + _ARRIVED_NS] = now_ns

    def standing(self, n_interactive: int, now_ns: int) -> None:
        """Show how many interactive completions are here. Step thread, when that changes."""
        self._words[self._at + _INTERACTIVE] = n_interactive
        self._words[self._at + _STEPPED_NS] = now_ns

    def stepped(
        self, n_bytes: int, now_ns: int, *, background: bool, bytes_per_s: float | None = None
    ) -> None:
        """Show that a step has moved `n_bytes`. background: the step had nothing interactive.
        bytes_per_s: the highest rate that this engine believes the machine can do. Step thread.
        """
        words, at = self._words, self._at
        if bytes_per_s is not None:
            words[at + _RATE] = int(bytes_per_s)
        if background:
            words[at + _BACKGROUND_BYTES] += n_bytes
        else:
            words[at + _INTERACTIVE_BYTES] += n_bytes
            words[at + _STEPPED_NS] = now_ns

    def waits(self, until_ns: int) -> None:
        """Show that background work may not move bytes before `until_ns`; 0 where none waits. Step
        thread.
        """
        self._words[self._at + _WAITS_UNTIL_NS] = until_ns

    def others(self, now_ns: int) -> Neighbours:
        """Read the other seats; the bytes are those since the last call. Step
        thread; microseconds.
        """
        words = self._words
        self._looked_ns = now_ns
        n_taken = min(words[_SEATS_TAKEN], SEATS)
        if n_taken <= 1:
            return NOBODY
        interactive = waiting = False
        n_interactive_bytes = n_background_bytes = bytes_per_s = 0
        for seat in range(n_taken):
            if seat == self._seat:
                continue
            at = (seat + 1) * WORDS_PER_SEAT
            interactive = interactive or self._is_interactive(at, now_ns)
            waiting = waiting or now_ns < words[at + _WAITS_UNTIL_NS] + LATE_NS
            bytes_per_s = max(bytes_per_s, words[at + _RATE])
            totals = (words[at + _INTERACTIVE_BYTES], words[at + _BACKGROUND_BYTES])
            # Another engine may have taken that seat and begun at zero. The first look counts no
            # bytes.
            before = self._seen.get(seat, totals)
            self._seen[seat] = totals
            n_interactive_bytes += max(0, totals[0] - before[0])
            n_background_bytes += max(0, totals[1] - before[1])
        return Neighbours(
            interactive=interactive,
            waiting=waiting,
            interactive_bytes=n_interactive_bytes,
            background_bytes=n_background_bytes,
            bytes_per_s=bytes_per_s,
        )

    def arrived_elsewhere(self) -> bool:
        """True if another engine was handed interactive work after the last look at `others`. The
        running step does not know of that work. Any thread.
        """
        words, since_ns = self._words, self._looked_ns
        return any(
            words[(seat + 1) * WORDS_PER_SEAT + _ARRIVED_NS] > since_ns
            for seat in range(min(words[_SEATS_TAKEN], SEATS))
            if seat != self._seat
        )

    @property
    def has_neighbours(self) -> bool:
        """True if there is or was another engine. Any thread."""
        return self._words[_SEATS_TAKEN] > 1

    def _is_interactive(self, at: int, now_ns: int) -> bool:
        words = self._words
        arrived_ns, stepped_ns = words[at + _ARRIVED_NS], words[at + _STEPPED_NS]
        if arrived_ns > stepped_ns:  # its step thread has not looked yet
            return abs(now_ns - arrived_ns) < STALE_NS
        return words[at + _INTERACTIVE] > 0 and abs(now_ns - stepped_ns) < STALE_NS


def words_of(page: "mmap.mmap | bytearray") -> BoardWords:
    """The page as numbers, without a copy: one store or load of 8 bytes each."""
    return memoryview(page)[:BOARD_BYTES].cast("q")  # type: ignore[return-value]
