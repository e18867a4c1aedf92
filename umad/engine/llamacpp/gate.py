"""Ends a running step between two layers, on devices that look at no abort flag themselves.

Only ggml's CPU backend looks before every node, and Metal between two halves of a graph. ggml's
scheduler works on all of them: it may be told to wait for the device after certain nodes, and to
end there (`gate.c`). Then `llama_decode` returns 0 although it has computed nothing of use. The
gate knows better, and `cuttable` says so.

While no step is open, the gate costs a call of some nanoseconds for each node. Each look costs the
time in which the device has nothing to do. So the looks of a step are as far apart as an arrival
hardly feels, and farther where looks are expensive. At the end of the last layer there is none:
what is left of the step is the few rows of its output, and a look there would save an arrival
nothing.

Not: who asks for a cut (`umad.engine.steps.cutter`), how long a step may be
(`umad.scheduler.steps.cut_wait`). Owner: the step thread, but the abort flag is any thread's.
"""

import ctypes
import math
from pathlib import Path
from typing import Any

# An arrival waits at most so long for the next look, where layers are quick enough and looks cheap.
LOOK_MS = 10.0
# Looks may take this share of a step.
MOST_SHARE = 0.01
# What a look costs is known no better than to a tenth. A whole look more or less is much where a
# model has few layers, so it is not left out for that.
PRICE_ERROR = 0.1


def layers_between(n_ends: int, *, step_ms: float, look_ms: float) -> int:
    """After how many layers a step looks again; 0 where it does not look at all.

    n_ends: the ends of layers in the step. step_ms: how long it takes. look_ms: what a look costs.
    """
    if n_ends < 2 or step_ms <= 0:
        return 0
    apart = max(1, int(n_ends * LOOK_MS / step_ms))
    most_ms = (1 + PRICE_ERROR) * MOST_SHARE * step_ms
    if (n_ends - 1) * look_ms > most_ms:
        affordable = math.floor(most_ms / look_ms)
        apart = max(apart, math.ceil(n_ends / (affordable + 1)))
    return apart if apart < n_ends else 0


class _Gate(ctypes.Structure):
    """struct gate of gate.c."""

    _fields_ = (
        ("wants_cut", ctypes.c_void_p),
        ("name_of", ctypes.c_void_p),
        ("every", ctypes.c_int),
        ("last", ctypes.c_int),
        ("n_ends", ctypes.c_int),
        ("n_looks", ctypes.c_int),
        ("was_cut", ctypes.c_int),
    )


class Gate:
    """The gate of one engine. Keep it alive as long as a context made with it."""

    def __init__(self, file: Path, flag: ctypes.c_void_p, library: Any) -> None:
        """file: as `gate_file` gives it. flag: the address of a byte; a step ends when it is not 0.
        library: of ggml, whose `ggml_get_name` is called."""
        native = ctypes.CDLL(str(file))
        name_of = ctypes.cast(library.ggml_get_name, ctypes.c_void_p)
        self._struct = _Gate(wants_cut=flag, name_of=name_of)
        self.callback: Any = native.umad_gate
        self.argument = ctypes.cast(ctypes.pointer(self._struct), ctypes.c_void_p)
        # Ends of layers in a step, and milliseconds of one look: `gate_trial` finds both.
        self.n_layers = 0
        self.look_ms = 0.0

    def open(self, step_ms: float, *, n_parts: int = 1) -> None:
        """The next decode may be cut. step_ms: how long it is expected to take. n_parts: the
        micro-batches that it is computed in, each of which has all layers.
        """
        n_ends = n_parts * self.n_layers
        between = layers_between(n_ends, step_ms=step_ms, look_ms=self.look_ms)
        self.open_every(between, last=n_ends)

    def open_every(self, n_layers: int, *, last: int = 0) -> None:
        """The next decode may be cut after every so many layers; 0 for never. last: the end of a
        layer that is not looked at, counted from 1; 0 for none.
        """
        struct = self._struct
        struct.n_ends = struct.n_looks = struct.was_cut = 0
        struct.every, struct.last = n_layers, last

    def close(self) -> bool:
        """The decode is over. Returns whether it was cut."""
        self._struct.every = 0
        was_cut = bool(self._struct.was_cut)
        self._struct.was_cut = 0
        return was_cut

    @property
    def n_ends(self) -> int:
        """Ends of layers in the last decode that was open."""
        return int(self._struct.n_ends)

    @property
    def n_looks(self) -> int:
        """How often the device was waited for in that decode."""
        return int(self._struct.n_looks)

    @property
    def cut_share(self) -> float:
        """The share of a long step after which it looks again; 1 where it never does."""
        return 1.0 / self.n_layers if self.n_layers else 1.0
