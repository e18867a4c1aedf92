"""Guesses how a text goes on from what other streams of the same app say or have said.

An app that asks for the same answer again, fills one form many times, or has several agents write
about one file repeats text that no prompt of it shows. So where a stream's own text has no long
agreement, the texts of its app's other streams are asked:

    running   the tables that those streams have anyway (`lookup`), for the `MOST_BESIDE` latest
    ended     prompt and answer are put behind one another into two volumes of `VOLUME_TOKENS`. When
              the second is full, the first is forgotten. A beginning that stands there already (a
              chat's earlier turns, an app's instructions) is not put in again

An app is a name under one owner: the process that asks, or the name that a front end gives, and
the key of a gateway. A text is told to no other app and no other owner, not even by how quick an
answer is. `share_prefixes` does not change that.

A text of which guesses are not wanted (`speculate: false`) is not looked into, and no other stream
guesses from it. What is to be forgotten (`umad forget`) is forgotten here, too.

Not: how likely such a guess is to hold (`acceptance`, apart from guesses of the own text), or
whether it is used.
Pure; owner: the step thread.
"""

from collections import OrderedDict, deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from umad.scheduler.speculation.grams import END, GRAM, GramTable, hashed
from umad.scheduler.speculation.lookup import INDEXED_AT_ONCE

# An app has two volumes: eight files of 300 lines. With its table a volume takes 192 KiB.
VOLUME_TOKENS = 16_384
# Apps whose texts are kept, those used last: 6 MiB in all.
MOST_APPS = 16
# A look-up in a table takes half a microsecond.
MOST_BESIDE = 8
# Texts of which not all is in a volume yet. A further one is left out.
MOST_PENDING = 16
# A text or a beginning that is shorter is not worth to be looked for.
LEAST_KNOWN = 32
# A beginning that stands there in so many parts is put in again, and then it is one.
MOST_PARTS = 16


class App(NamedTuple):
    """Whose texts they are."""

    owner: str
    name: str


class _Volume(GramTable):
    """Texts behind one another."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(np.zeros(VOLUME_TOKENS, np.int32))

    @property
    def room(self) -> int:
        """So many tokens more, with the end behind them."""
        return VOLUME_TOKENS - self.n - 1

    def append(self, tokens: NDArray[np.int32]) -> None:
        """Put a text behind the others. It has `GRAM` tokens or more, and there is room for it."""
        start, end = self.n, self.n + tokens.size
        self.tokens[start:end] = tokens
        self.tokens[end] = END
        self.put(self.put_piece(start + GRAM, end), end)
        self.n = end + 1


class _Shelf:
    """The texts of one app."""

    __slots__ = ("running", "volumes")

    def __init__(self) -> None:
        # The newer one first.
        self.volumes: list[_Volume] = []
        # The texts of running streams by their numbers, the latest last.
        self.running: dict[int, GramTable] = {}

    def n_known(self, tokens: NDArray[np.int32]) -> int:
        """How many tokens from the first on stand here already, in parts of `LEAST_KNOWN`."""
        n = 0
        for _ in range(MOST_PARTS):
            rest = tokens[n:]
            if rest.size < LEAST_KNOWN:
                return n
            gram, longest = hashed(rest, GRAM), 0
            for one in self.volumes:
                place, run = one.found(gram, rest, GRAM)
                if run:
                    longest = max(longest, _agreeing(one.tokens[place - GRAM : one.n], rest))
            if longest < LEAST_KNOWN:
                return n
            n += longest
        return 0

    def append(self, tokens: NDArray[np.int32]) -> int:
        """Put in the beginning of `tokens` for which there is room; return its length, which is
        `LEAST_KNOWN` or all of it."""
        if not self.volumes or self.volumes[0].room < LEAST_KNOWN:
            for one in self.volumes[1:]:
                one.clear()
            self.volumes = [_Volume(), *self.volumes[:1]]
        piece = tokens[: self.volumes[0].room]
        self.volumes[0].append(piece)
        return piece.size

    def clear(self) -> None:
        """Forget the volumes."""
        for one in self.volumes:
            one.clear()
        self.volumes = []


class _Pending:
    """A text that is being put in."""

    __slots__ = ("app", "n", "tokens")

    def __init__(self, app: App, tokens: NDArray[np.int32]) -> None:
        self.app = app
        self.tokens = tokens
        # So many of its tokens are in; None before it was looked whether a beginning is.
        self.n: int | None = None


class OtherTexts:
    """The texts of one engine's apps."""

    def __init__(self) -> None:
        self._apps: OrderedDict[App, _Shelf] = OrderedDict()
        self._pending: deque[_Pending] = deque()

    def n_kept(self, app: App) -> int:
        """Tokens of texts of `app` that have ended, with an end behind each."""
        shelf = self._apps.get(app)
        return 0 if shelf is None else sum([one.n for one in shelf.volumes])

    def began(self, app: App, rid: int, text: GramTable) -> None:
        """A stream runs that others of its app may copy."""
        self._shelf(app).running[rid] = text

    def ended(self, app: App, rid: int, tokens: NDArray[np.int32] | None) -> None:
        """A stream has ended. tokens: all of its text, which nobody changes any more; None where
        nothing of it is kept."""
        shelf = self._apps.get(app)
        if shelf is not None:
            shelf.running.pop(rid, None)
        if tokens is None or tokens.size < LEAST_KNOWN or len(self._pending) >= MOST_PENDING:
            return
        self._pending.append(_Pending(app, tokens[-2 * VOLUME_TOKENS :]))
        self.take_piece()

    def take_piece(self) -> None:
        """Put in the next piece of a text that has ended, if there is one."""
        if not self._pending:
            return
        one = self._pending[0]
        shelf, tokens = self._shelf(one.app), one.tokens
        n = shelf.n_known(tokens) if one.n is None else one.n
        if n < tokens.size:
            # The last words before it are put in with it, so that it is found behind them.
            start = max(0, n - GRAM)
            n = start + shelf.append(tokens[start : start + INDEXED_AT_ONCE])
        one.n = n
        if n == tokens.size:
            self._pending.popleft()

    def beside(self, app: App, rid: int) -> list[GramTable]:
        """The texts of `app`, without that of the stream `rid`."""
        shelf = self._apps.get(app)
        if shelf is None:
            return []
        running = [text for one, text in reversed(shelf.running.items()) if one != rid]
        return [*running[:MOST_BESIDE], *shelf.volumes]

    def forget(self, owner: str | None) -> None:
        """Give up all texts of an owner that have ended, and look into none of those that run; of
        everybody for None."""
        for app, shelf in self._apps.items():
            if owner is None or app.owner == owner:
                shelf.clear()
                shelf.running = {}
        self._pending = deque(
            [one for one in self._pending if owner is not None and one.app.owner != owner]
        )

    def _shelf(self, app: App) -> _Shelf:
        found = self._apps.get(app)
        if found is None:
            found = self._apps[app] = _Shelf()
            if len(self._apps) > MOST_APPS:
                self._apps.popitem(last=False)[1].clear()
        self._apps.move_to_end(app)
        return found


def _agreeing(one: NDArray[np.int32], other: NDArray[np.int32]) -> int:
    n = min(one.size, other.size)
    differ = np.flatnonzero(one[:n] != other[:n])
    return int(differ[0]) if differ.size else n
