"""Reads a model's shape from the config.json of a Hugging Face repository. Pure.

The text model of a model that also sees or hears is in a map of its own, which the engines look for
under several names. Not: reading the file (`umad.scale.reading`).
"""

from collections.abc import Mapping
from typing import Any

from umad.scale.config_fields import MOST_LAYERS, Fields
from umad.scale.feeds import feeds_of
from umad.scale.mixers import mixers_of
from umad.scale.shape import CheckpointQuantization, Layer, ModelShape

_TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")
_DTYPE_BYTES = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2}
_CONTEXT = (
    *("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length"),
    "max_sequence_length",
)
# DeepSeek-V4 keeps compressed states of several lengths, which each engine lays out for itself.
_UNRECKONED = ("compress_ratios",)


def shape_of(
    config: Mapping[str, Any],
    *,
    name: str,
    weights_bytes: int = 0,
    weights_source: str = "",
    is_gated: bool = False,
) -> ModelShape:
    """The shape in a config.json. Raises `BadRequest`, which names the field that is wrong.

    weights_bytes, weights_source: what the weights' files take and who says so, where it is known.
    """
    whole = Fields(config, where=f"{name}: config.json")
    fields = _text_part(whole)
    for field in _UNRECKONED:
        if field in fields:
            raise fields.wrong(field, "makes cells of a kind that umad cannot reckon")
    family = fields.text("model_type") or whole.text("model_type")
    n_layers = fields.whole("num_hidden_layers", "n_layer", "n_layers", "num_layers", least=1)
    if n_layers > MOST_LAYERS:
        raise fields.wrong("num_hidden_layers", f"is {n_layers}; no model has so many")
    width = fields.whole("hidden_size", "n_embd", "d_model", least=1)
    mixers = mixers_of(fields, family=family, width=width, n_layers=n_layers)
    feeds = feeds_of(fields, family=family, width=width, n_layers=n_layers)
    if len(feeds) != n_layers:
        raise fields.wrong("hybrid_override_pattern", f"has another length than {n_layers}")
    return ModelShape(
        name=name,
        architecture=next(iter(whole.texts("architectures")), family or "unknown"),
        width=width,
        layers=tuple(
            Layer(mixers=ours, feed=feed) for ours, feed in zip(mixers, feeds, strict=True)
        ),
        vocabulary=fields.whole("vocab_size", least=1),
        ties_embeddings=_ties(fields, whole, family),
        context_tokens=fields.whole(*_CONTEXT, default=0),
        value_bytes=min(2, _value_bytes(fields, whole)),
        file_value_bytes=_value_bytes(fields, whole),
        quantization=_quantization(whole, fields),
        weights_bytes=weights_bytes,
        weights_source=weights_source,
        is_gated=is_gated,
        has_encoder=any(one in whole for one in ("vision_config", "audio_config")),
    )


def _text_part(whole: Fields) -> Fields:
    found = whole
    for _ in range(3):  # thinker_config of Qwen's omni models has a text_config of its own
        inner = next((part for one in _TEXT_PARTS if (part := found.part(one)) is not None), None)
        if inner is None:
            break
        found = inner
    return found


def _ties(fields: Fields, whole: Fields, family: str) -> bool:
    if "tie_word_embeddings" in fields:
        return fields.flag("tie_word_embeddings")
    # transformers ties them where neither map says anything and the family does so.
    return whole.flag("tie_word_embeddings", default=family.startswith(("gemma", "gpt2", "lfm2")))


def _value_bytes(fields: Fields, whole: Fields) -> int:
    for one in (fields, whole):
        said = one.text("dtype") or one.text("torch_dtype")
        if said:
            return _DTYPE_BYTES.get(said.removeprefix("torch."), 2)
    return 2


# -- quantization ----------------------------------------------------------------------------------


def _quantization(whole: Fields, fields: Fields) -> CheckpointQuantization | None:
    found = (
        whole.part("quantization_config")
        or fields.part("quantization_config")
        or whole.part("compression_config")
    )
    if found is None:
        return None
    method = found.text("quant_method").lower().replace("compressed_tensors", "compressed-tensors")
    match method:
        case "fp8" | "fbgemm_fp8" | "deepseek_v4_fp8":
            sides = found.wholes("weight_block_size")
            block = (sides[0], sides[1]) if sides is not None and len(sides) == 2 else None
            return CheckpointQuantization(
                method=method,
                weight_bits=8 + (32 / (block[0] * block[1]) if block and all(block) else 0),
                activation_bits=8,
                block=block,
            )
        case "awq" | "gptq" | "auto-round" | "moe_wna16":
            group = found.raw("group_size")
            size = group if isinstance(group, int) and group > 0 else 0
            bits = found.whole("bits", "w_bit", default=4, least=1)
            # Each group has a scale of 16 bits and a zero of as many as a weight.
            return CheckpointQuantization(
                method=method, weight_bits=bits + ((16 + bits) / size if size else 0), group=size
            )
        case "mxfp4" | "gpt_oss_mxfp4":
            # 32 weights share a scale of 8 bits (OCP MX 1.0).
            return CheckpointQuantization(method=method, weight_bits=4.25, experts_only=True)
        case "bitsandbytes":
            is_four = found.flag("load_in_4bit")
            return CheckpointQuantization(method=method, weight_bits=4.5 if is_four else 8)
        case "compressed-tensors":
            return _compressed(found)
        case "modelopt" | "":
            algorithm = (found.part("quantization") or found).text("quant_algo").upper()
            if algorithm.startswith("FP8"):
                return CheckpointQuantization(method="modelopt", weight_bits=8, activation_bits=8)
            if algorithm == "NVFP4":
                return CheckpointQuantization(
                    method="modelopt_fp4", weight_bits=4.5, activation_bits=4, group=16
                )
            if not method:
                return None
            return CheckpointQuantization(method="modelopt_mixed", weight_bits=8)
        case _:
            return CheckpointQuantization(method=method, weight_bits=8)


def _compressed(found: Fields) -> CheckpointQuantization:
    """As compressed-tensors writes it: groups of layers, each with its types."""
    groups = found.raw("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, dict) and groups else None
    part = Fields(first if isinstance(first, dict) else {}, where=f"{found.where}, config_groups")
    weights, inputs = part.part("weights"), part.part("input_activations")
    if weights is None:
        raise found.wrong("config_groups", "names no type of weights")
    bits = weights.whole("num_bits", default=8, least=1)
    group = weights.whole("group_size", default=0) if weights.text("strategy") == "group" else 0
    sides = weights.wholes("block_structure")
    is_float = weights.text("type") == "float"
    scale_bits = 8 if is_float and bits == 4 else 16
    return CheckpointQuantization(
        method="compressed-tensors",
        weight_bits=bits + (scale_bits / group if group else 0),
        activation_bits=0 if inputs is None else inputs.whole("num_bits", default=16),
        block=(sides[0], sides[1]) if sides is not None and len(sides) == 2 else None,
        group=group,
    )
