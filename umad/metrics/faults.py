"""Counts the bytes of a model's weights that the machine read again because memory was short.

The bytes are those of page faults, over a sliding window.
Not: asking the platform (`memory`). Pure; owner: the scorecard.
"""

from collections import deque

from umad.metrics.memory import MemoryFacts

# The most readings that are kept. A few come each second at most, so this is far more than a window
# has.
MOST_READINGS = 4096


class FaultWindow:
    """Readings of one model's process, in time order."""

    def __init__(self, *, window_ns: int) -> None:
        self._window_ns = window_ns
        # (now_ns, faulted bytes, tokens)
        self._readings: deque[tuple[int, int, int]] = deque(maxlen=MOST_READINGS)

    def read(self, held: MemoryFacts | None, tokens: int, now_ns: int) -> tuple[int | None, int]:
        """Return the bytes faulted back in since about a window ago, and the tokens made meanwhile.

        The bytes are None where the platform does not tell them.
        tokens: how many tokens were made so far.
        """
        if held is None or held.faulted_bytes_total is None:
            return None, 0
        total = held.faulted_bytes_total
        if self._readings and total < self._readings[-1][1]:
            self._readings.clear()  # another process: the engine was restarted
        self._readings.append((now_ns, total, tokens))
        # Keep one reading older than the window, so that a whole window is covered.
        while len(self._readings) > 1 and self._readings[1][0] <= now_ns - self._window_ns:
            self._readings.popleft()
        _, first_bytes, first_tokens = self._readings[0]
        return total - first_bytes, tokens - first_tokens
