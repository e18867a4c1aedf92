"""Tells what a model is from its header: its size, quantization, licence, template and purpose.

Not: reading the header (`umad.models.gguf`), nor what a loaded engine knows
(`umad.engine.facts`). Pure.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from umad.models.gguf import GgufHeader, Value, whole_number

# A model of texts, its way in for images or sound, a LoRA adapter; "speech" is a Whisper model,
# which turns speech into text and is no GGUF (`umad.models.whisper`).
FileKind = Literal["model", "projector", "adapter", "speech"]

# llama.h, enum llama_ftype.
_FILE_TYPES: Mapping[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4",
    39: "NVFP4",
    40: "Q1_0",
    41: "Q2_0",
}
# ggml.h, enum ggml_type: for files that do not say what they are.
_TENSOR_TYPES: Mapping[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    29: "IQ1_M",
    30: "BF16",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
    40: "NVFP4",
    41: "Q1_0",
    42: "Q2_0",
}
# Keys that llama.cpp reads as defaults for drawing tokens: ours by its names.
_SAMPLING: Mapping[str, str] = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
    "penalty_last_n": "penalty_last_n",
}
_TEMPLATE = "tokenizer.chat_template"
# The variable that templates loop over.
_TOOLS = re.compile(r"\btools\b")
_FILL_IN = ("tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id")
# Tensors of an image's or a sound's way in. llama.cpp has them in a file of their own.
_INSIDE = ("v.", "mm.", "a.")
# Architectures of Ollama's own engine that llama.cpp has under another name or not at all
# (github.com/ollama/ollama, model/models/*/model.go).
_OLLAMAS_OWN = frozenset(
    {
        *("gptoss", "mllama", "qwen25vl", "deepseekocr", "glmocr", "glm4moelite", "olmo3"),
        *("longcatflash", "nemotronh"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """The facts in a model's header. A figure is 0, and a text empty, where it says nothing."""

    kind: FileKind
    architecture: str
    # The maker's name of the model.
    title: str
    # Weights of all tensors.
    n_params: int
    # Such as Q4_K_M.
    quantization: str
    # The longest text it was trained on.
    trained_tokens: int
    n_layers: int
    width: int
    n_experts: int
    experts_used: int
    vocabulary: int
    licence: str
    # The chat template, whole.
    template: str
    # A model that only turns texts into vectors.
    embeds: bool
    # It can fill in text between two others.
    fills_in: bool
    # There is a chat template, though `template` may be left out; and it tells of tools.
    has_template: bool = False
    takes_tools: bool = False
    # Of an adapter: the model that it was made for, as its maker wrote it.
    base: str = ""
    # What the maker recommends for drawing tokens, under the names of `umad.request`.
    sampling: Mapping[str, float] = field(default_factory=dict)


def facts_of(header: GgufHeader) -> FileFacts:
    """The facts of a header, or of all parts' headers together (`umad.models.files.joined`)."""
    metadata = header.metadata
    template = _text(metadata.get(_TEMPLATE))
    sampling = {
        ours: value
        for theirs, ours in _SAMPLING.items()
        if isinstance(value := metadata.get(f"general.sampling.{theirs}"), int | float)
        and math.isfinite(value)
    }
    return FileFacts(
        kind=_kind(header),
        architecture=header.architecture,
        title=_text(metadata.get("general.name")),
        n_params=sum(_weights(tensor.shape) for tensor in header.tensors),
        quantization=quantization_of(header),
        trained_tokens=_own(header, "context_length"),
        n_layers=_own(header, "block_count"),
        width=_own(header, "embedding_length"),
        n_experts=_own(header, "expert_count"),
        experts_used=_own(header, "expert_used_count"),
        vocabulary=header.array_lengths.get("tokenizer.ggml.tokens", 0),
        licence=_text(metadata.get("general.license.name"))
        or _text(metadata.get("general.license")),
        template=template,
        embeds=header.own("pooling_type") is not None or header.own("attention.causal") is False,
        fills_in=any(key in metadata for key in _FILL_IN),
        has_template=bool(template),
        takes_tools=_TOOLS.search(template) is not None,
        base=_text(metadata.get("general.base_model.0.name")),
        sampling=sampling,
    )


def quantization_of(header: GgufHeader) -> str:
    """The quantization a file says it has, else the type of most of its bytes."""
    said = header.metadata.get("general.file_type")
    if isinstance(said, int) and said in _FILE_TYPES:
        return _FILE_TYPES[said]
    n_bytes: Counter[int] = Counter()
    for tensor in header.tensors:
        n_bytes[tensor.type_number] += tensor.size_bytes or 0
    return _TENSOR_TYPES.get(n_bytes.most_common(1)[0][0], "") if n_bytes else ""


def problem_of(header: GgufHeader) -> str:
    """The reason why llama.cpp cannot open a whole file; empty where none is known."""
    match _kind(header):
        case "projector":
            return "it is the projector of a model, and no model"
        case "adapter":
            return "it is an adapter (LoRA) of a model, and no model"
        case "model" | "speech":
            pass
    if any(tensor.name.startswith(_INSIDE) for tensor in header.tensors):
        return (
            "its part for images or sound is in the same file, as only Ollama's engine reads it; "
            "pull the model's repository instead, where it is a file of its own"
        )
    if header.architecture in _OLLAMAS_OWN:
        return (
            f"its architecture {header.architecture!r} is of Ollama's engine alone; "
            "pull the model's repository instead"
        )
    return ""


def _kind(header: GgufHeader) -> FileKind:
    said = header.metadata.get("general.type")
    if header.architecture == "clip" or said == "mmproj":
        return "projector"
    return "adapter" if said == "adapter" else "model"


def _weights(shape: tuple[int, ...]) -> int:
    weights = 1
    for length in shape:
        weights *= length
    return weights


def _own(header: GgufHeader, key: str) -> int:
    """A number of the model's own; the largest where each layer has one."""
    return whole_number(header.own(key))


def _text(value: Value | None) -> str:
    return value if isinstance(value, str) else ""
