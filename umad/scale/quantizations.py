"""Knows the quantizations that the pinned engines have, and what each needs. Pure.

A quantization either is in the model's files (a checkpoint), or the engine makes it of 16-bit files
while it loads them (online). Sources:

    vLLM 0.33.0     vllm/model_executor/layers/quantization/__init__.py (QuantizationMethods), each
                    method's get_min_capability, vllm/platforms/rocm.py (supported_quantization)
    SGLang 0.5.23   srt/arg_groups/choices.py (QUANTIZATION_CHOICES), each method's
                    get_min_capability, srt/configs/model_config.py (rocm_supported_quantization)

vLLM has neither bitsandbytes nor GGUF any more, and SGLang no torchao.
"""

from dataclasses import dataclass
from typing import Literal

from umad.errors import BadRequest
from umad.model_names import near_names
from umad.scale.engines import TITLES, EngineName

Made = Literal["online", "checkpoint", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """One value of an engine's `--quantization`."""

    name: str
    made: Made
    # Bits of a weight with its scales, where the engine makes it; 0 where the files say.
    weight_bits: float
    # NVIDIA's compute capability times ten that the engine asks for.
    least_capability: int
    # Whether the engine has it on AMD's accelerators.
    on_amd: bool = False
    # Whether products are in fewer bits than 16, and from which capability on; below it, the
    # weights are short, and products are of 16 bits (Marlin).
    native_capability: int = 0
    experts_only: bool = False
    # What the engine's own checks call it, where that differs.
    words: str = ""


def _made(
    name: str,
    bits: float,
    least: int,
    *,
    native: int = 0,
    amd: bool = False,
    made: Made = "online",
    experts_only: bool = False,
) -> Quantization:
    return Quantization(
        name=name,
        made=made,
        weight_bits=bits,
        least_capability=least,
        native_capability=native,
        on_amd=amd,
        experts_only=experts_only,
    )


def _files(name: str, least: int, *, native: int = 0, amd: bool = False) -> Quantization:
    return _made(name, 0, least, native=native, amd=amd, made="checkpoint")


_VLLM = (
    _made("fp8", 8, 75, native=89, amd=True, made="both"),
    _made("fp8_per_tensor", 8, 75, native=89, amd=True),
    _made("fp8_per_channel", 8, 75, native=89, amd=True),
    _made("fp8_per_block", 8.002, 75, native=89, amd=True),
    _made("int8_per_channel_weight_only", 8, 75),
    _made("experts_int8", 8, 80, experts_only=True),
    _made("mxfp8", 8.25, 75, native=100, amd=True, made="both"),
    _made("nvfp4_per_token", 4.5, 75, native=100),
    _files("awq", 75, amd=True),
    _files("auto_awq", 75, amd=True),
    _files("awq_marlin", 75, amd=True),
    _files("gptq", 60, amd=True),
    _files("auto_gptq", 60, amd=True),
    _files("gptq_marlin", 60),
    _files("compressed-tensors", 70, amd=True),
    _files("inc", 60, amd=True),
    _files("auto-round", 60, amd=True),
    _files("quark", 70, amd=True),
    _files("modelopt", 80, native=89, amd=True),
    _files("modelopt_fp4", 75, native=100, amd=True),
    _files("modelopt_mxfp8", 80, native=100, amd=True),
    _files("modelopt_mixed", 80, amd=True),
    _files("mxfp4", 80, native=100, amd=True),
    _files("gpt_oss_mxfp4", 80, native=100, amd=True),
    _files("torchao", 75, amd=True),
    _files("moe_wna16", 70),
    _files("humming", 75),
)
_SGLANG = (
    _made("fp8", 8, 80, native=89, amd=True, made="both"),
    _made("mxfp8", 8.25, 100, native=100, amd=True, made="both"),
    _made("bitsandbytes", 4.5, 70, made="both"),
    _made("nvfp4_online", 4.5, 100, native=100),
    _made("humming", 8, 75, made="both"),
    _made("quark_int4fp8_moe", 4.5, 70, amd=True, experts_only=True),
    _made("quark_mxfp4", 4.25, 70, amd=True, made="both"),
    _files("awq", 75, amd=True),
    _files("awq_marlin", 80),
    _files("gptq", 80),
    _files("gptq_marlin", 80),
    _files("gguf", 60),
    _files("compressed-tensors", 70, amd=True),
    _files("auto-round", 60, amd=True),
    _files("auto-round-int8", 75, amd=True),
    _files("w8a8_int8", 75),
    _files("w8a8_fp8", 89, native=89, amd=True),
    _files("w4afp8", 90, native=90),
    _files("mxfp4", 80, native=100, amd=True),
    _files("quark", 70, amd=True),
    _files("modelopt", 89, native=89),
    _files("modelopt_fp8", 89, native=89),
    _files("modelopt_fp4", 80, native=100),
    _files("modelopt_mixed", 80),
    _files("petit_nvfp4", 90, amd=True),
    _files("moe_wna16", 70),
)
QUANTIZATIONS: dict[EngineName, dict[str, Quantization]] = {
    "vllm": {one.name: one for one in _VLLM},
    "sglang": {one.name: one for one in _SGLANG},
}
# Names of before, or of the other engine, and what is nearest now.
_GONE: dict[EngineName, dict[str, str]] = {
    "vllm": {
        "bitsandbytes": "fp8_per_channel, or files quantized with awq or gptq",
        "gguf": "the model's own repository with fp8; SGLang still reads GGUF",
        "int4wo-128": "files quantized with awq or gptq",
        "int8wo": "int8_per_channel_weight_only",
        "int8dq": "files quantized to W8A8 with compressed-tensors",
        "w8a8_int8": "files quantized to W8A8 with compressed-tensors",
        "deepspeedfp": "fp8",
    },
    "sglang": {
        "torchao": "fp8, or bitsandbytes below Ampere",
        "int4wo-128": "bitsandbytes, or files quantized with awq or gptq",
        "int8wo": "fp8, which is weight-only below Ada, or files for w8a8_int8",
        "int8dq": "files for w8a8_int8",
        "fp8_per_tensor": "fp8",
        "fp8_per_channel": "fp8",
        "fp8_per_block": "fp8",
    },
}
NONE = ("none", "auto", "unquant", "")


def quantization(engine: EngineName, name: str) -> Quantization:
    """The quantization of a name. Raises `BadRequest`, which names near ones or what came after."""
    known = QUANTIZATIONS[engine]
    plain = name.strip().lower()
    for one in (plain, plain.replace("_", "-"), plain.replace("-", "_")):
        if one in known:
            return known[one]
    gone = _GONE[engine].get(plain)
    if gone is not None:
        raise BadRequest(
            f"{TITLES[engine]} has no quantization {plain!r}; take {gone}", field="quantization"
        )
    near = near_names(plain, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known)}"
    raise BadRequest(
        f"{TITLES[engine]} has no quantization {plain[:60]!r}; {hint}", field="quantization"
    )


def substitute(engine: EngineName, capability: int, *, on_amd: bool) -> str:
    """What to take where fp8 is not possible; "" where the engine makes nothing by itself."""
    wishes = ("int8_per_channel_weight_only",) if engine == "vllm" else ("bitsandbytes", "humming")
    for name in wishes:
        one = QUANTIZATIONS[engine][name]
        if (on_amd and one.on_amd) or (not on_amd and capability >= one.least_capability):
            return name
    return ""
