"""Decodes a batch that an arrival may cut, with one result for all devices.

Owner: the step thread.
"""

import numpy as np

from umad.engine.llamacpp.llama import Batch, Context

# llama_decode's result where the abort flag has ended it.
ABORTED = 2


def decode_cuttable(context: Context, batch: Batch, step_ms: float) -> int:
    """Run the batch as `Context.decode` does; the abort flag ends it. step_ms: how long it is
    expected to take.

    No cells of an aborted micro-batch are left. Where the device looks at the flag itself, those of
    micro-batches before it are.
    """
    gate = context.abort_flag.gate
    if gate is None:
        return context.decode(batch)
    n_rows = batch.struct.n_tokens
    gate.open(step_ms, n_parts=-(-n_rows // context.ubatch))
    code = context.decode(batch)
    if not gate.close():
        return code
    # llama.cpp took it for done and booked its cells, also those of later micro-batches.
    seqs, positions = batch.seq[:n_rows], batch.pos[:n_rows]
    for seq in np.unique(seqs).tolist():
        context.trim(seq, int(positions[seqs == seq].min()))
    return ABORTED
