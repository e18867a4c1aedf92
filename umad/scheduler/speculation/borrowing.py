"""Guesses of one stream from a text of another one: found once, and followed while it agrees.

The other text may still be written, by a stream that is further ahead or behind. It may also be
forgotten at any time; then there is no guess.

Pure; owner: the step thread.
"""

from collections.abc import Iterable

from umad.scheduler.speculation.grams import END, MOST_RUN, GramTable
from umad.scheduler.speculation.lookup import PromptLookup, longer


class Borrowing:
    """The place in another text behind which a stream is taken to go on.

    run: how many tokens before it agree; 0 for no such place.
    """

    __slots__ = ("_place", "_text", "run")

    def __init__(self) -> None:
        self._text: GramTable | None = None
        self._place = 0
        self.run = 0

    def take(self, token: int) -> bool | None:
        """Follow the stream's next token. Return whether it was the one guessed; None for no
        guess."""
        text = self._text
        if text is None:
            return None
        expected = text.tokens.item(self._place) if self._place < text.n else END
        if expected != token:
            self.leave()
            return None if expected == END else False
        self._place += 1
        self.run = longer(self.run)
        return True

    def look_up(self, lookup: PromptLookup, texts: Iterable[GramTable]) -> None:
        """Find the text that agrees longest with that of `lookup`, if it is longer than what that
        one has found itself. Of several the first is taken."""
        own, gram, end = lookup.text.tokens, lookup.gram, lookup.n_tokens
        longest = lookup.run
        for text in texts:
            place, run = text.found(gram, own, end)
            if run > longest and place < text.n and text.tokens.item(place) != END:
                self._text, self._place, self.run = text, place, run
                longest = run
                if run == MOST_RUN:
                    return

    def guess(self, n: int) -> tuple[int, ...]:
        """The next `n` tokens as they follow there, or fewer at its end."""
        text, place = self._text, self._place
        if text is None or place >= text.n:
            return ()
        found: list[int] = text.tokens[place : min(place + n, text.n)].tolist()
        return tuple(found[: found.index(END)] if END in found else found)

    def leave(self) -> None:
        """Look for another text."""
        self._text, self._place, self.run = None, 0, 0
