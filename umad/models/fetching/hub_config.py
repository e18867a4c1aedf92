"""Holds what a repository of the hub says of a model, without its weights.

Not: asking the hub (`umad.models.fetching.hub`), nor what a config.json means (`umad.scale`).
"""

from dataclasses import dataclass

from huggingface_hub.hf_api import ModelInfo

# Bits of the types of safetensors.
_TYPE_BITS = {
    **dict.fromkeys(("F64", "I64", "U64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("BF16", "F16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F4", "I4", "U4"), 4),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HubConfig:
    """What a repository of safetensors says of its model, without its weights."""

    # config.json, as it is; empty where it has none.
    text: bytes
    # Of all weights, by the hub's count of their values; 0 where it has not counted.
    weights_bytes: int
    is_gated: bool
    # The repository that this one was made from, as its card says; "" where it says nothing.
    base: str = ""
    has_gguf: bool = False


def counted_bytes(info: ModelInfo) -> int:
    """The bytes of a repository's weights; 0 where a type is new, or nothing was counted."""
    counted = {} if info.safetensors is None else info.safetensors.parameters
    if not counted or not counted.keys() <= _TYPE_BITS.keys():
        return 0
    return sum(n_values * _TYPE_BITS[name] for name, n_values in counted.items()) // 8


def base_model(info: ModelInfo) -> str:
    """The first repository that a card says the model was made from; "" where it says none."""
    said: object = None if info.card_data is None else info.card_data.get("base_model")
    if isinstance(said, list):
        said = said[0] if said else None
    return said if isinstance(said, str) else ""
