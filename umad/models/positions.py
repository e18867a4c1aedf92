"""Reads what a model's header says about the positions of a text, and decides how long one text
may be. Pure.
"""

import math
from dataclasses import dataclass
from typing import Literal

from umad.models.gguf import GgufHeader
from umad.models.rope import Rope, file_factor

_LONG = "rope_factors_long.weight"
_FREQUENCIES = "rope_freqs.weight"
_LEARNT = "position_embd.weight"
# Kinds of scaling whose factor stretches the context that the file names. LongRoPE's own context is
# the long one already.
_STRETCHING = frozenset({"linear", "yarn"})
# Gemma 3's files name the stretched context beside the factor (convert_hf_to_gguf).
_STRETCHED_ALREADY = ("gemma3", "gemma4")
AS_IN_FILE = Rope()
# What sets the length of one text.
StreamBound = Literal["pool", "training", "asked", "positions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamContext:
    """The most tokens of one text, prompt and answer together, and what bounds them.

    pool: the cells that all streams share. training: the length the model was trained on.
    asked: `ctx_per_stream` of the settings. positions: the rows of weights for positions.
    """

    tokens: int
    bound: StreamBound


def stream_context(
    header: GgufHeader, *, n_cells: int, asked: int | None = None, rope: Rope = AS_IN_FILE
) -> StreamContext:
    """How long one text may be. asked: `ctx_per_stream`, which stands in place of the training's
    length. Where a model has a row of weights for each position, nothing goes beyond the last one.
    rope: how its positions are scaled.
    """
    bounds: list[tuple[int, StreamBound]] = []
    if (learnt := learnt_positions(header)) is not None:
        bounds.append((learnt, "positions"))
    if asked is not None:
        bounds.append((asked, "asked"))
    elif trained := trained_tokens(header, rope):
        bounds.append((trained, "training"))
    # The pool comes last: of two equal bounds, a larger pool would not lift the other one.
    bounds.append((n_cells, "pool"))
    tokens, bound = min(bounds, key=lambda one: one[0])
    return StreamContext(tokens=tokens, bound=bound)


def trained_tokens(header: GgufHeader, rope: Rope = AS_IN_FILE) -> int:
    """The longest text that the model can read: the context it was trained on, or more where its
    positions are stretched (linear scaling; YaRN, arXiv 2309.00071), by the file or by `rope`. 0
    where the file does not say.

    llama.cpp stretches from `rope.scaling.original_context_length`, or from `context_length` in a
    file without it. vLLM computes the same length for the same models (`_get_and_verify_max_len`).
    """
    trained = _count(header, "context_length")
    if rope.scaling == "none":
        return _original(header)
    # llama.cpp takes a file without a type to scale linearly.
    if rope.scaling_in(header) not in _STRETCHING:
        return trained
    if rope.freq_scale is not None:
        return int((rope.yarn_orig_ctx or _original(header)) / rope.freq_scale)
    factor = file_factor(header)
    if not 1 < factor < math.inf:
        return trained
    original = rope.yarn_orig_ctx or _count(header, "rope.scaling.original_context_length")
    if not original:
        if header.architecture.startswith(_STRETCHED_ALREADY):
            return trained
        original = trained
    return max(trained, int(original * factor))


def _original(header: GgufHeader) -> int:
    """The longest text without any stretching."""
    trained = _count(header, "context_length")
    if original := _count(header, "rope.scaling.original_context_length"):
        return original
    factor = file_factor(header)
    if header.architecture.startswith(_STRETCHED_ALREADY) and 1 < factor < math.inf:
        return int(trained / factor)
    return trained


def _count(header: GgufHeader, key: str) -> int:
    value = header.own(key)
    return value if isinstance(value, int) and value > 0 else 0


def learnt_positions(header: GgufHeader) -> int | None:
    """How many positions the model has a row for, as GPT-2 has. llama.cpp ends the process at a
    position behind the last row. None for models that compute their positions.
    """
    for tensor in header.tensors:
        if tensor.name == _LEARNT and len(tensor.shape) > 1:
            return tensor.shape[1]
    return None


def long_factors_from(header: GgufHeader) -> int | None:
    """The context size, in tokens, above which llama.cpp takes the long factors of LongRoPE (arXiv
    2402.13753) for every position: Phi-3 and others. None for models that have no such factors.

    Source: llama.cpp's `llama_model::get_rope_factors`; nothing else in it looks at a context's
    size.
    """
    names = [tensor.name for tensor in header.tensors]
    if _ends(names, _FREQUENCIES) or not _ends(names, _LONG):
        return None
    for key in ("rope.scaling.original_context_length", "context_length"):
        value = header.own(key)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _ends(names: list[str], end: str) -> bool:
    # Old files have one for each layer ("blk.0.rope_factors_long.weight").
    return any(name == end or name.endswith(f".{end}") for name in names)
