"""Contexts for prompts with media, decoded by llama.cpp's own helper and by umad's calls.

Not a test.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.engine.nano_context import new_context
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.library import lib
from umad.engine.llamacpp.library_binding import bound_media
from umad.engine.llamacpp.mtmd import Mtmd
from umad.engine.llamacpp.row_batch import RowBatch
from umad.engine.media.layout import MediumLayout, TextPiece
from umad.engine.media.rows import Rows
from umad.media.medium import Medium

BEFORE, AFTER = "def look():\n    ", "\n    return"
Logits = NDArray[np.float32]


def context_for(model: llama.Model, **changes: Any) -> llama.Context:
    return new_context(model, **{"n_cells": 2048, "batch": 512, "ubatch": 512, **changes})


def by_helper(mtmd: Mtmd, context: llama.Context, medium: Medium) -> Logits:
    """The logits behind the text and the medium, computed by `mtmd_helper_eval_chunks`."""
    mm: Any = bound_media()
    prompt = BEFORE.encode() + mm.mtmd_default_marker() + AFTER.encode()
    text = mm.mtmd_input_text()
    text.text, text.text_len = prompt, len(prompt)
    text.add_special = False
    text.parse_special = True
    at = ctypes.c_char_p(medium.data)
    if medium.kind == "image":
        data = ctypes.cast(at, ctypes.POINTER(ctypes.c_uint8))
        bitmap = mm.mtmd_bitmap_init(medium.width, medium.height, data)
    else:
        samples = ctypes.cast(at, ctypes.POINTER(ctypes.c_float))
        bitmap = mm.mtmd_bitmap_init_from_audio(medium.samples, samples)
    chunks = mm.mtmd_input_chunks_init()
    bitmaps = (mm.mtmd_bitmap_p_ctypes * 1)(bitmap)
    handle = mtmd._handle
    assert mm.mtmd_tokenize(handle, chunks, ctypes.byref(text), bitmaps, 1) == 0
    end = ctypes.c_int32(0)
    code = mm.mtmd_helper_eval_chunks(
        handle, context.handle, chunks, 0, 0, 512, True, ctypes.byref(end)
    )
    assert code == 0, llama.TAP.reason()
    mm.mtmd_input_chunks_free(chunks)
    mm.mtmd_bitmap_free(bitmap)
    return _last(context)


def by_hand(
    model: llama.Model,
    context: llama.Context,
    layout: MediumLayout,
    rows: Sequence[Rows],
    *,
    seq: int = 1,
    slice_rows: int = 512,
    mrope: bool = False,
) -> Logits:
    """The same by umad's own calls. rows: of each run of the layout."""
    batch = RowBatch(512, width=model.n_embd_in, dimensions=4 if mrope else 1)
    at = _text(
        context, model.tokenize(BEFORE.encode(), add_special=False, parse_special=True), seq, 0
    )
    for piece in layout.pieces:
        if isinstance(piece, TextPiece):
            at = _text(context, piece.tokens, seq, at)
            continue
        step = slice_rows if piece.causal else piece.n_rows
        context.set_causal(piece.causal)
        for start in range(0, piece.n_rows, step):
            part = rows[piece.index][start : start + step]
            places = None if piece.places is None else piece.places[:, start : start + step]
            begin = at if places is not None else at + start
            batch.fill(part, seq=seq, position=begin, places=places)
            assert context.decode(batch) == 0, llama.TAP.reason()
        context.set_causal(True)
        at += piece.n_positions
    _text(context, model.tokenize(AFTER.encode(), add_special=False, parse_special=True), seq, at)
    return _last(context)


def _text(context: llama.Context, tokens: Any, seq: int, at: int) -> int:
    n = len(tokens)
    batch = llama.Batch(512)
    batch.token[:n] = tokens
    batch.pos[:n] = np.arange(at, at + n)
    batch.seq[:n] = seq
    batch.wants_logits[n - 1] = 1
    batch.set_rows(n)
    assert context.decode(batch) == 0, llama.TAP.reason()
    return at + n


def _last(context: llama.Context) -> Logits:
    at = lib.llama_get_logits_ith(context.handle, -1)
    return np.ctypeslib.as_array(at, (context.logits_of_none().shape[1],)).copy()
