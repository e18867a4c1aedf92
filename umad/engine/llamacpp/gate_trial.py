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

# The quickest of so many decodes each way: other programs only add.
_TIMES = 3


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

    def ms(every: int) -> float:
        context.clear()
        gate.open_every(every)
        began_ns = now_ns()
        context.decode(batch)
        context.logits(1)  # waits for the device
        took_ms = (now_ns() - began_ns) / NS_PER_MS
        gate.close()
        return took_ms

    ms(1)
    if not gate.n_looks:
        context.clear()
        return
    n_looks = gate.n_looks
    plain_ms = min(ms(0) for _ in range(_TIMES))
    looking_ms = min(ms(1) for _ in range(_TIMES))
    gate.n_layers = n_looks
    gate.look_ms = max(0.0, looking_ms - plain_ms) / n_looks
    context.clear()
