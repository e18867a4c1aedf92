"""Computes a little with the library that this process is bound to, as an engine would.

Sizes and defaults of structs say where fields lie, and not that the library means the same by them.
So nano is opened with options that have unlike values, the context is asked for them again, and a
short text is decoded in two ways that have one answer. A list of places of tensors is handed over,
and a header is copied, because these are structs without defaults. Devices besides the CPU are left
out: their drivers are the engine's to try, and may take minutes at their first start.

Not: speed, or the kernels that repacking uses (`repack_trial`). Owner: a process of its own
(`library_child`), which this may kill.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umad.engine.llamacpp import llama
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.library import lib
from umad.engine.llamacpp.placement import Placement

# nano has read so much Python that it is sure of the next word; another one is far behind (a
# difference of 1.7 where a wrong rounding makes one of 0.01).
TEXT, NEXT = b"import os\nimport sys\n", b"import"
_F16 = 1  # GGML_TYPE_F16
# nano has no experts: its tensors stay where they are, once each has been held against the list.
_PLACES = Placement(n_cpu_moe=2)
# No two of these numbers are equal, nor one of llama.cpp's defaults.
_OPTIONS = ContextOptions(
    n_cells=768,
    max_seqs=3,
    batch=64,
    ubatch=32,
    threads=2,
    type_k=_F16,
    type_v=_F16,
    flash_attention=True,
)


def trial_fault(path: Path) -> str:
    """What is wrong, in words; "" where nothing is. path: nano's weights."""
    llama.start()
    try:
        model = llama.Model(str(path), gpu_layers=0, placement=_PLACES)
        try:
            return _context_fault(model) or _header_fault(path, model)
        finally:
            model.close()
    except llama.LlamaError as error:
        return f"it does not load a small model: {error}"


def _header_fault(path: Path, model: llama.Model) -> str:
    with llama.without_vocabulary(path, data_bytes=path.stat().st_size) as copy:
        if copy is None:
            return "it does not copy a small model's header"
        header = llama.Model(str(copy), gpu_layers=0, weights=False)
        try:
            found = (header.n_vocab, header.n_params)
        finally:
            header.close()
    if found != (model.n_vocab, model.n_params):
        return "a small model's header is another one once it is copied"
    return ""


def _context_fault(model: llama.Model) -> str:
    context = llama.Context(model, _OPTIONS)
    try:
        return _echo_fault(context) or _text_fault(model, context)
    finally:
        context.close()


def _echo_fault(context: llama.Context) -> str:
    handle = context.handle
    for name, ask, given in (
        ("n_ctx", lib.llama_n_ctx, _OPTIONS.n_cells),
        # Only with kv_unified has each sequence room for all cells.
        ("n_ctx of one sequence", lib.llama_n_ctx_seq, _OPTIONS.n_cells),
        ("n_seq_max", lib.llama_n_seq_max, _OPTIONS.max_seqs),
        ("n_batch", lib.llama_n_batch, _OPTIONS.batch),
        ("n_ubatch", lib.llama_n_ubatch, _OPTIONS.ubatch),
        ("n_threads", lib.llama_n_threads, _OPTIONS.threads),
        ("n_threads_batch", lib.llama_n_threads_batch, _OPTIONS.threads),
    ):
        found = int(ask(handle))
        if found != given:
            return f"a context that is asked for {name} {given} has {found}"
    return ""


def _text_fault(model: llama.Model, context: llama.Context) -> str:
    ids = model.tokenize(TEXT, add_special=True, parse_special=False)
    if b"".join(model.piece(int(one), special=False) for one in ids) != TEXT:
        return "a text that it cuts into tokens does not come back as it was"
    whole = _decode(context, ids, seq=1, start=0)
    if isinstance(whole, str):
        return whole
    # The same text in two parts, the first of which another sequence shares.
    first = _decode(context, ids[:2], seq=2, start=0)
    context.copy(2, 0, 2)
    second = _decode(context, ids[2:], seq=0, start=2)
    for one in (first, second):
        if isinstance(one, str):
            return one
    for row in (whole, second):
        assert not isinstance(row, str)
        best = model.piece(int(row.argmax()), special=False)
        if not np.isfinite(row).all() or best != NEXT:
            return f"a small model goes on with {best!r} behind {TEXT!r}, and {NEXT!r} is expected"
    return ""


def _decode(
    context: llama.Context, ids: Sequence[int] | NDArray[np.int32], *, seq: int, start: int
) -> NDArray[np.float32] | str:
    """The logits behind the last of the tokens; why there are none, in words."""
    n = len(ids)
    batch = llama.Batch(_OPTIONS.batch)
    batch.token[:n] = ids
    batch.pos[:n] = np.arange(start, start + n)
    batch.seq[:n] = seq
    batch.wants_logits[n - 1] = 1
    batch.set_rows(n)
    code = context.decode(batch)
    if code:
        return f"it does not decode a short text (code {code}): {context.last_words()}"
    row: NDArray[np.float32] = context.logits(1)[0].copy()
    return row
