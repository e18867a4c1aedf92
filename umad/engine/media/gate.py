"""Holds a running encoder between two nodes of its graph, so that a step can have the device, and
ends it there once nobody wants its rows.

A large image on a CPU is one call of seconds. But ggml's scheduler asks a callback of each node
whether somebody wants to see it, computes up to a node that somebody wants, shows it, and asks
whether to go on. While the callback does not return, nothing is computed. So an encoding runs on a
thread of its own, and this gate is its callback: it lets the thread on only while the step thread
waits for it. The rows are the same bit for bit, however often it is held.

Within a node nothing can hold or end it, and attention over 10,000 patches is one node of seconds.
So the step thread waits for a node's end as long as its turn says and no longer: then steps are
computed beside it, slower, and the encoder is held as soon as its node is over.

It asks for every `stride`-th node alone: an accelerator has to finish what it was given before a
node can be shown, which costs time. The stride follows what the nodes took, so that a hold comes
within some milliseconds.

Threads: the encoder's thread calls `wants` and `passes`; the step thread calls `open_for` and
`stop`.
"""

import threading
import time
from collections.abc import Callable

from umad.units import NS_PER_S

# A closed gate is reached within about this time of the encoder's own computing.
REACH_NS = 4_000_000
# Nodes of one image: some hundreds.
MOST_STRIDE = 64


class EncodeGate:
    """One encoder's gate. It is closed until `open_for` is called, and after it."""

    def __init__(self, *, now_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._now_ns = now_ns
        self._change = threading.Condition()
        # The encoder may compute until then; 0 while the gate is closed.
        self._until_ns = 0
        # The encoder's thread is held at a node, or has nothing to compute.
        self._is_held = False
        self._is_done = True
        self._is_stopped = False
        # The nodes that were asked about so far.
        self.n_asked = 0
        self._stride = 1
        self._began_ns = 0
        # The most nodes that are computed between two that are shown.
        self.most_stride = MOST_STRIDE
        # How often an encoder was held.
        self.n_holds = 0

    # -- on the encoder's thread ----------------------------------------------------------------

    def begin(self) -> None:
        """Wait for the first turn."""
        with self._change:
            self._hold()
        self._began_ns = self._now_ns()

    def wants(self) -> bool:
        """Whether the node that is asked about is to be shown. ggml asks before it computes."""
        self.n_asked += 1
        # The next part of a graph on several devices is begun even after the one before it ended.
        return self._is_stopped or self.n_asked % self._stride == 0

    def passes(self) -> bool:
        """A node is shown: everything up to it is computed. Returns when more may be; False where
        no more is wanted."""
        now_ns = self._now_ns()
        took_ns = max(1, now_ns - self._began_ns)
        self._stride = max(1, min(self.most_stride, self._stride * REACH_NS // took_ns))
        with self._change:
            if now_ns >= self._until_ns and not self._is_stopped:
                self.n_holds += 1
                self._hold()
            is_wanted = not self._is_stopped
        self._began_ns = self._now_ns()
        return is_wanted

    def end(self) -> None:
        """The encoding is over, well or badly."""
        with self._change:
            self._is_done = True
            self._change.notify_all()

    def _hold(self) -> None:
        self._is_held, self._until_ns = True, 0
        self._change.notify_all()
        self._change.wait_for(lambda: self._until_ns or self._is_stopped)
        self._is_held = False

    # -- on the step thread ---------------------------------------------------------------------

    def prepare(self) -> None:
        """An encoding is about to be begun on the encoder's thread."""
        with self._change:
            self._is_done, self._is_held, self._is_stopped = False, False, False
            self._until_ns = self.n_asked = 0
            self._stride = 1

    def open_for(self, turn_ns: int, late_ns: int) -> bool:
        """Let the encoder compute for about `turn_ns`, and wait until it is held again or done, but
        at most `late_ns` longer. Returns whether it is done."""
        ends_ns = self._now_ns() + max(1, turn_ns)
        with self._change:
            # It may not have come to its first hold yet, or be in the node that made it late.
            if not self._settled_by(ends_ns):
                return False
            if self._is_done:
                return True
            self._until_ns = ends_ns
            self._is_held = False
            self._change.notify_all()
            self._settled_by(ends_ns + late_ns)
            return self._is_done

    def stop(self, within_ns: int | None = None) -> bool:
        """End the encoder at the next node that is shown: nobody wants its rows, and what it leaves
        is none. Waits until it has ended, at most `within_ns`; whether it has."""
        with self._change:
            self._is_stopped = True
            self._change.notify_all()
            seconds = None if within_ns is None else within_ns / NS_PER_S
            return self._change.wait_for(lambda: self._is_done, seconds)

    @property
    def computes(self) -> bool:
        """Whether the encoder computes though no turn waits for it: it is late."""
        return not (self._is_held or self._is_done)

    @property
    def is_stopped(self) -> bool:
        """Whether the encoder was told to end early."""
        return self._is_stopped

    def _settled_by(self, ends_ns: int) -> bool:
        """Wait until the encoder is held or done, until then at most; whether it is."""
        left_ns = max(0, ends_ns - self._now_ns())
        return self._change.wait_for(lambda: self._is_held or self._is_done, left_ns / NS_PER_S)
