"""Holds a running encoder between two nodes of its graph, so that a step can have the device.

An encoder has no way to be interrupted: a large image on a CPU is one call of seconds. But ggml's
scheduler asks a callback of each node whether somebody wants to see it, computes up to a node that
somebody wants, and shows it. While the callback does not return, nothing is computed. So an
encoding runs on a thread of its own, and this gate is its callback: it lets the thread on only
while the step thread waits for it. The rows are the same bit for bit, however often it is held.

It asks for every `stride`-th node alone: an accelerator has to finish what it was given before a
node can be shown, which costs time. The stride follows what the nodes took, so that a hold comes
within some milliseconds.

Threads: the encoder's thread calls `wants` and `passes`; the step thread calls `open_for` and
`give_up`.
"""

import threading
import time
from collections.abc import Callable

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
        self._goes_free = False
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
        return self.n_asked % self._stride == 0

    def passes(self) -> None:
        """A node is shown: everything up to it is computed. Returns when more may be."""
        now_ns = self._now_ns()
        took_ns = max(1, now_ns - self._began_ns)
        self._stride = max(1, min(self.most_stride, self._stride * REACH_NS // took_ns))
        with self._change:
            if now_ns >= self._until_ns and not self._goes_free:
                self.n_holds += 1
                self._hold()
        self._began_ns = self._now_ns()

    def end(self) -> None:
        """The encoding is over, well or badly."""
        with self._change:
            self._is_done = True
            self._change.notify_all()

    def _hold(self) -> None:
        self._is_held, self._until_ns = True, 0
        self._change.notify_all()
        self._change.wait_for(lambda: self._until_ns or self._goes_free)
        self._is_held = False

    # -- on the step thread ---------------------------------------------------------------------

    def prepare(self) -> None:
        """An encoding is about to be begun on the encoder's thread."""
        with self._change:
            self._is_done, self._is_held, self._goes_free = False, False, False
            self._until_ns = self.n_asked = 0
            self._stride = 1

    def open_for(self, turn_ns: int) -> bool:
        """Let the encoder compute for about `turn_ns`, and wait until it is held again or done.
        Returns whether it is done."""
        with self._change:
            # It may not have come to its first hold yet.
            self._change.wait_for(lambda: self._is_held or self._is_done)
            if self._is_done:
                return True
            self._until_ns = self._now_ns() + max(1, turn_ns)
            self._is_held = False
            self._change.notify_all()
            self._change.wait_for(lambda: self._is_held or self._is_done)
            return self._is_done

    def close_now(self) -> None:
        """End the running turn at the next node that is shown. Any thread."""
        with self._change:
            if self._until_ns:
                self._until_ns = 1

    def give_up(self) -> None:
        """Let the encoder run to its end without turns: nobody waits for it, and it cannot be
        stopped. Waits until it is done."""
        with self._change:
            self._goes_free = True
            self._change.notify_all()
            self._change.wait_for(lambda: self._is_done)
