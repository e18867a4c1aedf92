"""Holds what is guessed for one stream: from its own text, from another one, and what is forced.

Where a grammar allows one text only, that text comes first. Behind it stands what the likelier
source says, if it agrees with it: the stream's own text, or the text of another stream of its app.
Each of them learns from every token that is drawn how often it is right.

Not: what a draft model guesses (`drafting`), or how many guesses are verified (`choice`).
Pure; owner: the step thread.
"""

from collections.abc import Callable, Iterable

from umad.scheduler.scheduled_request import ScheduledRequest
from umad.scheduler.speculation.acceptance import STREAM_RATE, Acceptance
from umad.scheduler.speculation.borrowing import Borrowing
from umad.scheduler.speculation.drafting import DraftStream
from umad.scheduler.speculation.grams import MOST_RUN, GramTable
from umad.scheduler.speculation.lookup import COPY, PromptLookup


class _Source:
    """How often the guesses of one source are right: for this stream, and for its app."""

    __slots__ = ("_app", "own")

    def __init__(self, app: Acceptance) -> None:
        self._app = app
        self.own = Acceptance(STREAM_RATE, like=app)

    def learn(self, run: int, *, was_right: bool) -> None:
        self.own.learn(run, was_right=was_right)
        self._app.learn(run, was_right=was_right)


class GuessingStream:
    """One stream that may have guesses."""

    __slots__ = (
        "_beside",
        "_borrowing",
        "_in_others",
        "_in_own",
        "draft",
        "entry",
        "guesses",
        "lookup",
    )

    def __init__(
        self,
        entry: ScheduledRequest,
        *,
        in_own: Acceptance,
        in_others: Acceptance,
        beside: Callable[[], Iterable[GramTable]],
        draft: DraftStream | None,
    ) -> None:
        """in_own, in_others: how often guesses from the own text and from another one are right for
        its app. beside: the other texts of its app. draft: None where no draft model guesses for
        it."""
        self.entry = entry
        self.draft = draft
        self._in_own, self._in_others = _Source(in_own), _Source(in_others)
        self._beside = beside
        self._borrowing = Borrowing()
        self.lookup = PromptLookup(entry.tokens)
        self.lookup.take_piece(entry.n_tokens)
        # Those of the step that is being planned.
        self.guesses: tuple[int, ...] = ()

    def follow(self) -> None:
        """Take in the tokens that are known since the last step, and learn from them."""
        if self.draft is not None:
            self.draft.follow()
        lookup, borrowing, n_tokens = self.lookup, self._borrowing, self.entry.n_tokens
        if n_tokens - lookup.n_tokens > MOST_RUN:
            lookup.take_piece(n_tokens)
            borrowing.leave()
            return
        for at in range(lookup.n_tokens, n_tokens):
            run = borrowing.run
            if run:
                was_right = borrowing.take(self.entry.tokens.item(at))
                if was_right is not None:
                    self._in_others.learn(run, was_right=was_right)
            run = lookup.run
            was_right = lookup.take()
            if was_right is not None:
                self._in_own.learn(run, was_right=was_right)

    def guess(self, most: int, *, asks: bool) -> list[float]:
        """Guess its next tokens, at most so many. Return the chances that each and all before it
        hold; empty where there are no guesses. asks: its grammar, which may take a moment."""
        entry, lookup, borrowing = self.entry, self.lookup, self._borrowing
        # The step also brings the token behind the last guess that holds, and no token may come
        # after the last one that was asked for. So its cells never are more than it was promised.
        most = min(most, entry.limit - entry.n_tokens - 1)
        if most <= 0:
            self.guesses = ()
            return []
        forced = entry.forced()[:most] if asks and entry.forced is not None else ()
        found: tuple[int, ...] = ()
        run, source = lookup.run, self._in_own
        if lookup.n_tokens == entry.n_tokens:
            if not borrowing.run and run < COPY and lookup.gram:
                borrowing.look_up(lookup, self._beside())
            if self._in_others.own.chance(borrowing.run) > source.own.chance(run):
                found = borrowing.guess(most)
            if found:
                run, source = borrowing.run, self._in_others
            elif run:
                found = lookup.guess(most)
        n = len(forced)
        if found[:n] != forced or not found:
            self.guesses = forced
            return [1.0] * n
        self.guesses = found
        return [1.0] * n + source.own.survival(run + n, len(found) - n)
