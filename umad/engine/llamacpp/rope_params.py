"""Writes how positions are scaled into llama.cpp's parameters of a context.

Not: which combinations make sense (`umad.models.rope`). Pure.
"""

from typing import Any

from umad.models.rope import Rope

# llama.h, enum llama_rope_scaling_type
_SCALINGS = {"none": 0, "linear": 1, "yarn": 2}


def scale_positions(params: Any, rope: Rope) -> None:
    """Set what `rope` says; the rest stays as in the model's file. params: llama_context_params."""
    if rope.scaling is not None:
        params.rope_scaling_type = _SCALINGS[rope.scaling]
    for name, value in (
        ("rope_freq_base", rope.freq_base),
        ("rope_freq_scale", rope.freq_scale),
        ("yarn_orig_ctx", rope.yarn_orig_ctx),
        ("yarn_ext_factor", rope.yarn_ext_factor),
        ("yarn_attn_factor", rope.yarn_attn_factor),
        ("yarn_beta_fast", rope.yarn_beta_fast),
        ("yarn_beta_slow", rope.yarn_beta_slow),
    ):
        if value is not None:
            setattr(params, name, value)
