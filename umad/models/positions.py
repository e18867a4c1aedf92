"""Reads what a model's header says about the positions of a text. Pure."""

from umad.models.gguf import GgufHeader

_LONG = "rope_factors_long.weight"
_FREQUENCIES = "rope_freqs.weight"
_LEARNT = "position_embd.weight"


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
