"""Where a model's positions are turned by other factors, told from its header. Pure."""

from umad.models.gguf import GgufHeader

_LONG = "rope_factors_long.weight"
_FREQUENCIES = "rope_freqs.weight"


def long_factors_from(header: GgufHeader) -> int | None:
    """The context, in tokens, above which llama.cpp takes the long factors of LongRoPE (arXiv
    2402.13753) for every position: Phi-3 and others. None for models that have no such factors.

    llama.cpp's `llama_model::get_rope_factors`: nothing else in it looks at a context's size.
    """
    names = {tensor.name.rpartition(".blk.")[2] for tensor in header.tensors}
    if _FREQUENCIES in names or not any(name.endswith(_LONG) for name in names):
        return None
    for key in ("rope.scaling.original_context_length", "context_length"):
        value = header.own(key)
        if isinstance(value, int) and value > 0:
            return value
    return None
