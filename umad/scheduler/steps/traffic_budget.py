"""Holds the average rate of memory traffic to a limit (the ΣBMT budget).

The budget is a bucket of bytes that fills at the allowed rate and that all steps empty. Background
work may begin a step while the bucket is not in debt. That step may bring it into debt, and the
pause until the debt is paid holds the average to the rate. Interactive steps are never held, but
their bytes count, so background work pays for them.

Not: how many bytes a step moves (`TrafficModel`, the engine's), or which work waits
(`background_throttle`). Pure; owner: the step thread.
"""

from typing import Protocol

from umad.units import MS_PER_S, NS_PER_S

# Unused bytes are saved up, at most so many milliseconds of the rate, so that a late wake-up or a
# stalled step loses nothing. With 20 ms a busy machine reached only 71 % of its budget. With more
# than 50, a second that follows an idle one would exceed the rate by over 5 %.
BURST_MS = 50.0
# Interactive work brings the bucket into debt by at most so many milliseconds of the rate; the
# bytes beyond that are forgiven. So background work pays in full for an answer of some seconds, but
# an interactive minute does not silence it for another minute. With 1 s, interactive bursts of 2 s
# at twice the budget, 3 s apart, let the machine move 1.54 times its budget.
MAX_DEBT_MS = 10_000.0
# A shorter step consists mostly of the call itself, and its rate says nothing about memory.
LEAST_LEARNT_MS = 0.5


class TrafficModel(Protocol):
    """Tells how many bytes a step moves. Pure arithmetic."""

    def moved(self, *, n_rows: int, n_cells_read: int, n_logit_rows: int) -> int:
        """The bytes of weights, KV and logits that a step with these counts moves."""
        ...


class TrafficBudget:
    """The bucket of one engine. It starts empty.

    bytes_per_s: the allowed rate; None for no limit.
    measured: the rate was measured by a probe of the machine, and not set by a person. A step that
    moved its bytes faster (from a cache, or because the probe was disturbed) has measured better
    than the probe, and the rate rises to it: `auto` must not slow down a machine that is faster
    than thought.
    """

    def __init__(self, *, bytes_per_s: float | None = None, measured: bool = False) -> None:
        self._rate = bytes_per_s
        self._measured = measured
        self._balance = 0.0
        self._filled_ns: int | None = None

    @property
    def bytes_per_s(self) -> float | None:
        """The rate in force."""
        return self._rate

    def wait_ms(self, now_ns: int, *, saved_ms: float = 0.0) -> float:
        """Milliseconds until background work may move bytes again; 0 when it may now.

        saved_ms: how many milliseconds of the rate must have been saved up first, at most
        `BURST_MS`.
        """
        if self._rate is None:
            return 0.0
        self._fill(self._rate, now_ns)
        return max(0.0, saved_ms - self._balance / self._rate * MS_PER_S)

    def spend(self, n_bytes: int, now_ns: int, *, background: bool) -> None:
        """Book `n_bytes` that are being moved; a negative number corrects one that was too high."""
        if self._rate is not None:
            self._fill(self._rate, now_ns)
            self.owe(n_bytes, background=background)

    def owe(self, n_bytes: int, *, background: bool) -> None:
        """Book `n_bytes` that other engines moved at some time since the bucket was last filled.

        They are taken out before the bucket is filled. So the time that has passed pays for them
        first, and only the rest of it is saved up.
        """
        if self._rate is None:
            return
        before = self._balance
        self._balance -= n_bytes
        if not background and n_bytes > 0:
            most_debt = self._rate * MAX_DEBT_MS / MS_PER_S
            self._balance = max(self._balance, min(before, -most_debt))

    def learn(self, n_bytes: int, device_ms: float) -> None:
        """Learn that a whole step moved `n_bytes` in `device_ms`."""
        if device_ms >= LEAST_LEARNT_MS:
            self.raise_to(n_bytes / device_ms * MS_PER_S)

    def raise_to(self, bytes_per_s: float) -> None:
        """Raise a measured rate to `bytes_per_s`, because a step on this machine was that fast."""
        if self._rate is not None and self._measured:
            self._rate = max(self._rate, bytes_per_s)

    def _fill(self, rate: float, now_ns: int) -> None:
        if self._filled_ns is not None and now_ns > self._filled_ns:
            # Only the saved-up bytes are bounded. A debt is paid in full.
            gained = rate * (now_ns - self._filled_ns) / NS_PER_S
            self._balance = min(self._balance + gained, rate * BURST_MS / MS_PER_S)
        self._filled_ns = now_ns if self._filled_ns is None else max(now_ns, self._filled_ns)
