"""Gives an engine its gate, and tries it: how many layers end in a step, and what a look costs.

Owner: the main thread, while the context is empty.
"""

import os
import sys
from collections.abc import Callable, Iterable

from umad.engine.llamacpp.abort_flag import AbortFlag
from umad.engine.llamacpp.devices import Device, looks_always
from umad.engine.llamacpp.gate import Gate
from umad.engine.llamacpp.gate_file import gate_file
from umad.engine.llamacpp.llama import Batch, Context, libggml
from umad.units import NS_PER_MS

# The quickest of so many decodes each way: other programs only add. A price of 0.9 ms in decodes of
# 24 ms was found between 0 and 2 ms with 3 of each beside other programs.
_MOST_PAIRS, _FEWEST_PAIRS = 16, 3
# No more than the fewest are tried once so much time is over.
_TRIAL_MS = 1_000.0


def abort_flag_for(devices: Iterable[Device]) -> AbortFlag:
    """The switch that ends steps, with a gate where a device does not look at it."""
    abort = AbortFlag()
    if not looks_always(devices):
        file = gate_file(os.environ, sys.platform)
        if file is not None:
            abort.add_gate(file, libggml)
    return abort


def try_gate(context: Context, gate: Gate, *, token: int, now_ns: Callable[[], int]) -> None:
    """Tell the gate its layers, and its milliseconds a look. The layers stay 0 where none has the
    name that is looked for: then no step is cut. Leaves the context empty.
    """
    batch = Batch(1)
    batch.token[0], batch.wants_logits[0] = token, 1
    batch.set_rows(1)

    def ms(every: int, last: int = 0) -> float:
        context.clear()
        gate.open_every(every, last=last)
        began_ns = now_ns()
        context.decode(batch)
        context.logits(1)  # waits for the device
        took_ms = (now_ns() - began_ns) / NS_PER_MS
        gate.close()
        return took_ms

    ms(1)
    n_layers = gate.n_ends
    if n_layers:
        # In turns, so that a machine that becomes busy slows both.
        pairs: list[tuple[float, float]] = []
        began_ns = now_ns()
        while len(pairs) < _FEWEST_PAIRS or (
            len(pairs) < _MOST_PAIRS and now_ns() - began_ns < _TRIAL_MS * NS_PER_MS
        ):
            pairs.append((ms(0), ms(1, n_layers)))
        plain_ms, looking_ms = (min(each) for each in zip(*pairs, strict=True))
        gate.n_layers = n_layers
        gate.look_ms = max(0.0, looking_ms - plain_ms) / max(1, gate.n_looks)
    context.clear()
