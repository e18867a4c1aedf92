"""Finds apps whose prompts change early from one turn to the next, and agree for long after that.

A line with the time, or with a number of the request, near the head of a prompt costs all that
follows it: a prefix ends at the first token that differs. No list of such lines is complete, so the
prompts themselves tell. Two prompts of one app that agree up to a token, differ in a short span,
and then have most of their words in common again, differ by such a line. Words are compared by
content and not by place, because the span may be some tokens longer in one of them: digests of a
few consecutive tokens, of which one in `EVERY` is looked at, chosen by its own value.

Not: what to do about it; people who see it in `umad ps` can tell their app.
Pure; owner: the step thread.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from umad.scheduler.memory.prefix_index import common_prefix

# The head of a prompt that is looked at.
MOST_TOKENS = 4096
# An app may hold this many conversations in turns and is understood all the same.
PROMPTS_KEPT = 3
MOST_APPS = 64
# The longest span that counts as short, and the least that has to agree after it.
SHORT_TOKENS = 128
LONG_TOKENS = 128
# So many requests that do not change there, and it is no longer told.
FORGET_AFTER = 3
_RUN = 8
EVERY = 8
_BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class _Prompt:
    """The head of a prompt."""

    # int32 (n,).
    tokens: NDArray[np.int32]
    # int64 (m,), ascending: where the digests that are looked at begin.
    places: NDArray[np.intp]
    # uint64 (m,).
    digests: NDArray[np.uint64]

    @classmethod
    def of(cls, tokens: NDArray[np.int32]) -> "_Prompt":
        head = tokens[:MOST_TOKENS].copy()
        wide = head.astype(np.uint64) + np.uint64(1)
        n = max(0, wide.size - _RUN + 1)
        digests = np.zeros(n, np.uint64)
        for at in range(_RUN):
            digests = (digests + wide[at : at + n]) * _BASE  # modulo 2**64
            digests ^= digests >> np.uint64(29)
        places = np.flatnonzero(digests % np.uint64(EVERY) == 0)
        return cls(head, places, digests[places])

    def agrees_after(self, other: "_Prompt", n_same: int) -> bool:
        """Whether the two agree for long, a short span behind their first `n_same` tokens."""
        mine, theirs = self.places >= n_same, other.places >= n_same
        found = np.isin(self.digests[mine], other.digests[theirs])
        n_found = int(found.sum())
        if not n_found or 2 * n_found < min(int(mine.sum()), int(theirs.sum())):
            return False
        places = self.places[mine][found]
        first, last = int(places[0]), int(places[-1])
        return first - n_same <= SHORT_TOKENS and last + _RUN - first >= LONG_TOKENS


@dataclass(slots=True)
class _App:
    prompts: deque[_Prompt] = field(default_factory=lambda: deque(maxlen=PROMPTS_KEPT))
    # Where its prompts change; -1 for nowhere.
    token: int = -1
    # Requests since then that did not change there.
    n_since: int = 0


class PromptChanges:
    """The apps of one engine."""

    def __init__(self) -> None:
        self._apps: OrderedDict[tuple[str, str], _App] = OrderedDict()
        # The token at which the prompts of an app change, by the app's name. Replaced, never
        # changed.
        self.found: Mapping[str, int] = {}

    def note(self, owner: str, app: str, tokens: NDArray[np.int32]) -> None:
        """Look at the prompt of a request."""
        if tokens.size < LONG_TOKENS:
            return
        known = self._apps.pop((owner, app), None) or _App()
        self._apps[owner, app] = known
        if len(self._apps) > MOST_APPS:
            self._apps.popitem(last=False)
        prompt = _Prompt.of(tokens)
        alike = [(common_prefix(one.tokens, prompt.tokens), one) for one in known.prompts]
        if any(n == one.tokens.size == prompt.tokens.size for n, one in alike):
            return  # the same once more, as for several answers
        before = known.token
        self._judge(known, prompt, alike)
        known.prompts.append(prompt)
        if known.token != before:
            self.found = {
                name: one.token for (_, name), one in self._apps.items() if one.token >= 0
            }

    @staticmethod
    def _judge(known: _App, prompt: _Prompt, alike: list[tuple[int, _Prompt]]) -> None:
        n_most = max((n for n, _ in alike), default=0)
        changed = [
            n
            for n, one in alike
            # A change in the latter half costs less than what it leaves.
            if 2 * n < min(one.tokens.size, prompt.tokens.size) and prompt.agrees_after(one, n)
        ]
        goes_on = known.token >= 0 and n_most > known.token + SHORT_TOKENS
        if changed and not goes_on:
            at = max(changed)
            is_near = known.token >= 0 and abs(at - known.token) <= SHORT_TOKENS
            known.token = min(at, known.token) if is_near else at
            known.n_since = 0
        elif goes_on:
            known.n_since += 1
            if known.n_since >= FORGET_AFTER:
                known.token, known.n_since = -1, 0
