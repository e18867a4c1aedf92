"""Finds the earliest stop string in a text that arrives in pieces of any size.

The text that comes out, and the stop string that ends it, depend on the text alone, and not on how
it was cut into pieces. The earliest match wins; of several that begin at the same place, the
longest wins. Text leaves as soon as no stop string can begin in it any more: an Aho-Corasick
automaton (Aho, Corasick: Efficient String Matching, CACM 18(6), 1975) always knows the longest
suffix that is the beginning of a stop string.

Pure: characters, not bytes.
Owner: one `Detokenizer`; a compiled automaton is shared and never changes.
"""

import re
from functools import lru_cache


class _Automaton:
    """The automaton of some stop strings. Its states are their prefixes; state 0 is the empty one.

    depth: the prefix's length. fail: the longest proper suffix that is a prefix too.
    ends: the length of the longest stop string that the state ends with, or 0.
    """

    __slots__ = ("depth", "ends", "fail", "first", "next")

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.next: list[dict[str, int]] = [{}]
        self.depth: list[int] = [0]
        self.fail: list[int] = [0]
        self.ends: list[int] = [0]
        for stop in stops:
            self._insert(stop)
        self._link()
        # Most text holds no character with which a stop string begins. One scan in C shows that.
        self.first = re.compile("[" + re.escape("".join(self.next[0])) + "]")

    def _insert(self, stop: str) -> None:
        state = 0
        for char in stop:
            known = self.next[state].get(char)
            if known is None:
                known = len(self.next)
                self.next[state][char] = known
                self.next.append({})
                self.depth.append(self.depth[state] + 1)
                self.fail.append(0)
                self.ends.append(0)
            state = known
        self.ends[state] = self.depth[state]

    def _link(self) -> None:
        level = list(self.next[0].values())
        while level:
            deeper: list[int] = []
            for state in level:
                for char, child in self.next[state].items():
                    self.fail[child] = self.step(self.fail[state], char)
                    deeper.append(child)
                # A suffix's match counts only where the state itself is no match, being shorter.
                self.ends[state] = self.ends[state] or self.ends[self.fail[state]]
            level = deeper

    def step(self, state: int, char: str) -> int:
        """Return the longest prefix of a stop string with which `state` followed by `char` ends."""
        while True:
            known = self.next[state].get(char)
            if known is not None:
                return known
            if not state:
                return 0
            state = self.fail[state]


# Apps send the same few stop strings with every request.
@lru_cache(maxsize=64)
def _automaton(stops: tuple[str, ...]) -> _Automaton:
    return _Automaton(stops)


class StopMatcher:
    """Passes one text on up to a stop string.

    stop: the stop string that ended the text; None while none has.
    """

    __slots__ = ("_automaton", "_found_end", "_found_start", "_held", "_state", "stop")

    def __init__(self, stops: tuple[str, ...]) -> None:
        """`stops`: one or more strings, none of them empty."""
        self._automaton = _automaton(stops)
        self._state = 0
        self._held = ""
        # The place in `_held` of the best match so far. An earlier or longer one may still come.
        self._found_start = 0
        self._found_end = 0
        self.stop: str | None = None

    def push(self, text: str) -> str:
        """Add `text` to the text so far; return the text that is certain now. Linear in `text`."""
        if self.stop is not None:
            return ""
        automaton = self._automaton
        if not self._state and automaton.first.search(text) is None:
            return text
        state = self._state
        at = len(self._held)
        held = self._held = self._held + text
        for char in text:
            state = automaton.step(state, char)
            at += 1
            ends = automaton.ends[state]
            if ends:
                start = at - ends
                if not self._found_end or start <= self._found_start:
                    self._found_start, self._found_end = start, at
            # A match is final once no possible match that began before it, or with it, can grow.
            if self._found_end:
                oldest = at - automaton.depth[state]
                if oldest > self._found_start or not automaton.next[state]:
                    return self._stopped()
        self._state = state
        certain = at - automaton.depth[state]
        self._held = held[certain:]
        self._found_start -= certain
        self._found_end = max(self._found_end - certain, 0)
        return held[:certain]

    def flush(self) -> str:
        """End the text; return the text that was held back, up to a match that was not yet
        final."""
        if self.stop is not None:
            return ""
        if self._found_end:
            return self._stopped()
        held, self._held, self._state = self._held, "", 0
        return held

    def _stopped(self) -> str:
        self.stop = self._held[self._found_start : self._found_end]
        text, self._held = self._held[: self._found_start], ""
        return text
