"""Takes one engine's place on the device board: it writes there, and reads the others' places.

An engine reads the other seats before it plans. Not: the page itself (`page`), nor what to do about
the others (`umad.scheduler.steps.neighbours`). Threads: as each method says.
"""

import mmap

from umad.engine.board.page import (
    ARRIVED_NS,
    BACKGROUND_BYTES,
    BOARD_BYTES,
    COMPUTES_NS,
    INTERACTIVE,
    INTERACTIVE_BYTES,
    LATE_NS,
    LONGEST_NS,
    RATE,
    SEATS,
    SEATS_TAKEN,
    STEPPED_NS,
    STEPS,
    WAITS_UNTIL_NS,
    WORDS_PER_SEAT,
    BoardWords,
    is_interactive,
    let_stop,
    others_are_interactive,
    take_seat,
    words_of,
)
from umad.scheduler.steps.neighbours import NOBODY, Neighbours


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
        self._was_crowded = False

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
        self._words[self._at + ARRIVED_NS] = now_ns

    def standing(self, n_interactive: int, now_ns: int) -> None:
        """Show how many interactive completions are here. Step thread, when that changes."""
        self._words[self._at + INTERACTIVE] = n_interactive
        self._words[self._at + STEPPED_NS] = now_ns

    def stepped(
        self, n_bytes: int, now_ns: int, *, background: bool, bytes_per_s: float | None = None
    ) -> None:
        """Show that a step has moved `n_bytes`. background: the step had nothing interactive.
        bytes_per_s: the highest rate that this engine believes the machine can do. Step thread.
        """
        words, at = self._words, self._at
        if bytes_per_s is not None:
            words[at + RATE] = int(bytes_per_s)
        if background:
            words[at + BACKGROUND_BYTES] += n_bytes
        else:
            words[at + INTERACTIVE_BYTES] += n_bytes
            words[at + STEPS] += 1
            words[at + STEPPED_NS] = now_ns

    def computes(self, since_ns: int) -> None:
        """Show that a step, or a part of a load, has begun; 0 where nothing runs. The thread that
        loads, then the step thread.
        """
        self._words[self._at + COMPUTES_NS] = since_ns

    def let_stop(self, may: bool) -> None:
        """Say whether the daemon may stop this process for a while. The thread that loads."""
        let_stop(self._words, self._seat, may)

    def begins(self, now_ns: int) -> None:
        """Show that a step begins. Step thread."""
        self._was_crowded = self.is_crowded(now_ns)
        self.computes(now_ns)

    def ends(self, now_ns: int) -> bool:
        """Show that the step has ended. True if another engine computed meanwhile. Step thread."""
        self.computes(0)
        return self._was_crowded or self.is_crowded(now_ns)

    def is_crowded(self, now_ns: int) -> bool:
        """Whether another engine computes now, or has moved bytes since the last look at `others`.
        Step thread; microseconds.
        """
        words = self._words
        if words[SEATS_TAKEN] <= 1:
            return False
        for seat in range(min(words[SEATS_TAKEN], SEATS)):
            if seat == self._seat:
                continue
            at = (seat + 1) * WORDS_PER_SEAT
            since_ns = words[at + COMPUTES_NS]
            if since_ns and abs(now_ns - since_ns) < LONGEST_NS:
                return True
            totals = (words[at + INTERACTIVE_BYTES], words[at + BACKGROUND_BYTES])
            if totals != self._seen.get(seat, totals):
                return True
        return False

    def waits(self, until_ns: int) -> None:
        """Show that background work may not move bytes before `until_ns`; 0 where none waits. Step
        thread.
        """
        self._words[self._at + WAITS_UNTIL_NS] = until_ns

    def others(self, now_ns: int) -> Neighbours:
        """Read the other seats; the bytes are those since the last call. Step
        thread; microseconds.
        """
        words = self._words
        self._looked_ns = now_ns
        n_taken = min(words[SEATS_TAKEN], SEATS)
        if n_taken <= 1:
            return NOBODY
        interactive = waiting = False
        n_interactive_bytes = n_background_bytes = bytes_per_s = 0
        for seat in range(n_taken):
            if seat == self._seat:
                continue
            at = (seat + 1) * WORDS_PER_SEAT
            interactive = interactive or is_interactive(words, seat, now_ns)
            waiting = waiting or now_ns < words[at + WAITS_UNTIL_NS] + LATE_NS
            bytes_per_s = max(bytes_per_s, words[at + RATE])
            totals = (words[at + INTERACTIVE_BYTES], words[at + BACKGROUND_BYTES])
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

    def interactive_steps(self, now_ns: int) -> dict[int, int]:
        """The steps so far of each other engine that has interactive work, by its seat. Any
        thread.
        """
        words = self._words
        return {
            seat: words[(seat + 1) * WORDS_PER_SEAT + STEPS]
            for seat in range(min(words[SEATS_TAKEN], SEATS))
            if seat != self._seat and is_interactive(words, seat, now_ns)
        }

    def has_readers(self, now_ns: int) -> bool:
        """Whether this engine has interactive completions, or another one interactive work. Any
        thread.
        """
        if self._words[self._at + INTERACTIVE] > 0:
            return True
        return others_are_interactive(self._words, self._seat, now_ns)

    def arrived_elsewhere(self) -> bool:
        """True if another engine was handed interactive work after the last look at `others`. The
        running step does not know of that work. Any thread.
        """
        words, since_ns = self._words, self._looked_ns
        return any(
            words[(seat + 1) * WORDS_PER_SEAT + ARRIVED_NS] > since_ns
            for seat in range(min(words[SEATS_TAKEN], SEATS))
            if seat != self._seat
        )

    @property
    def has_neighbours(self) -> bool:
        """True if there is or was another engine. Any thread."""
        return self._words[SEATS_TAKEN] > 1
