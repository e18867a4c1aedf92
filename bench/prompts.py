"""Makes prompts that no cache can help with: random token ids, a seed for each benchmark.

Not text: the words do not matter to speed. Owner: the loop that sends them.
"""

import random


class Prompts:
    """Random prompts, so that no two share a prefix that a cache could use."""

    def __init__(self, vocabulary_tokens: int, *, seed: int) -> None:
        self._ids = range(vocabulary_tokens)
        self._random = random.Random(seed)

    def draw(self, tokens: int) -> list[int]:
        """Token ids that were not drawn before, but for an accident."""
        return self._random.choices(self._ids, k=tokens)

    def between(self, low: float, high: float) -> float:
        """A number from the same source."""
        return self._random.uniform(low, high)
