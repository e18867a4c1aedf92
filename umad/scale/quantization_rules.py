"""Holds an accelerator and a quantization against the checks that the engines make. Pure.

Each refusal names the engine's own check, as in `umad.scale.rules`. Not: the table of quantizations
(`umad.scale.quantizations`).
"""

from collections.abc import Iterator

from umad.scale.accelerators import Accelerator
from umad.scale.engines import TITLES, EngineName
from umad.scale.quantizations import QUANTIZATIONS, Quantization, substitute
from umad.scale.rules import Refusal
from umad.scale.shape import ModelShape

_CAPABILITY = {
    "vllm": "vllm/config/vllm.py, VllmConfig._get_quantization_config",
    "sglang": "sglang/srt/model_loader/loader.py, _get_quantization_config",
}
_AMD = {
    "vllm": "vllm/platforms/rocm.py, RocmPlatform.supported_quantization",
    "sglang": "sglang/srt/configs/model_config.py, ModelConfig._verify_quantization",
}


def quantization_refusals(
    shape: ModelShape, wished: Quantization | None, engine: EngineName, device: Accelerator
) -> tuple[Refusal, ...]:
    """The checks of an accelerator and of a quantization, whatever the split.

    wished: what is asked of the engine; None for the files as they are.
    """
    return tuple(_quantization(shape, wished, engine, device))


def _quantization(
    shape: ModelShape, wished: Quantization | None, engine: EngineName, device: Accelerator
) -> Iterator[Refusal]:
    title, found = TITLES[engine], shape.quantization
    if engine == "sglang" and device.vendor == "nvidia" and device.capability < 75:
        yield Refusal(
            rule="accelerator",
            words=f"SGLang needs compute capability 7.5, and {device.name} ({device.generation}) "
            f"has {_dotted(device.capability)}",
            source="sglang/srt/model_executor/model_runner_components/load_model_utils.py",
        )
        return
    if wished is not None and found is None and wished.made == "checkpoint":
        made = [one.name for one in QUANTIZATIONS[engine].values() if one.made != "checkpoint"]
        yield Refusal(
            rule="quantization",
            words=f"{wished.name} needs files that are quantized so, and {shape.name} is not; "
            f"{title} makes {', '.join(made)} by itself",
            source=_AMD["sglang"] if engine == "sglang" else _model_config("vllm"),
        )
    if wished is not None and found is not None and not _agrees(wished.name, found.method):
        yield Refusal(
            rule="quantization",
            words=f"{shape.name} is quantized with {found.method}, so it cannot be served with "
            f"{wished.name}",
            source=_model_config(engine),
        )
    if wished is not None and wished.experts_only and not shape.n_experts:
        yield Refusal(
            rule="quantization",
            words=f"{wished.name} quantizes experts, and {shape.name} has none",
            source=_model_config(engine),
        )
    method = wished or (None if found is None else _of_files(engine, found.method))
    if method is None:
        if found is not None:
            yield Refusal(
                rule="quantization",
                words=f"{title} does not serve files quantized with {found.method}",
                source=_model_config(engine),
            )
        return
    yield from _on_device(method, engine, device, shape)


def _on_device(
    method: Quantization, engine: EngineName, device: Accelerator, shape: ModelShape
) -> Iterator[Refusal]:
    least = method.least_capability
    # Scales that W8A8 in floats needs are checked by the scheme, not by the method.
    found = shape.quantization
    if found is not None and found.method == "compressed-tensors":
        least = max(least, _compressed_least(found.weight_bits, found.activation_bits))
    other = substitute(engine, device.capability, on_amd=device.vendor == "amd")
    hint = f"; take {other}" if other and other != method.name and found is None else ""
    if device.vendor == "amd":
        if not method.on_amd:
            yield Refusal(
                rule="accelerator",
                words=f"{TITLES[engine]} does not have {method.name} on {device.name}"
                + (hint or ("; take fp8" if device.has_fp8 and found is None else "")),
                source=_AMD[engine],
            )
        elif method.name.startswith(("fp8", "w8a8_fp8")) and not device.has_fp8:
            yield Refusal(
                rule="accelerator",
                words=f"{device.name} ({device.gfx}) does not multiply in fp8: that needs CDNA 3 "
                "(MI300X) or later" + hint,
                # RocmPlatform.supports_fp8 lets every gfx9 pass: it would fail at the first step.
                source="AMD, CDNA 2 instruction set: no fp8",
            )
    elif device.capability < least:
        yield Refusal(
            rule="accelerator",
            words=f"{method.name} needs compute capability {_dotted(least)}, and {device.name} "
            f"({device.generation}) has {_dotted(device.capability)}" + hint,
            source=_CAPABILITY[engine],
        )


def _compressed_least(weight_bits: float, activation_bits: int) -> int:
    """vLLM runs W8A8 in floats on Turing by weight alone; 4-bit ones too."""
    return 75 if weight_bits <= 8.1 or activation_bits else 70


def _dotted(capability: int) -> str:
    return f"{capability // 10}.{capability % 10}"


def _model_config(engine: EngineName) -> str:
    package = "vllm/config/model.py" if engine == "vllm" else "sglang/srt/configs/model_config.py"
    return f"{package}, ModelConfig._verify_quantization"


def _agrees(wished: str, method: str) -> bool:
    """Whether an engine takes files of one method with the flag of another."""
    if wished == method or wished.replace("_", "-") == method.replace("_", "-"):
        return True
    families = (
        {"awq", "auto_awq", "awq_marlin", "moe_wna16", "humming"},
        {"gptq", "auto_gptq", "gptq_marlin", "moe_wna16", "humming"},
        {"modelopt", "modelopt_fp8", "modelopt_fp4", "modelopt_mixed"},
        {"compressed-tensors", "w8a8_int8", "w8a8_fp8"},
        {"mxfp4", "gpt_oss_mxfp4"},
        {"auto-round", "inc"},
    )
    return any(wished in one and method in one for one in families)


def _of_files(engine: EngineName, method: str) -> Quantization | None:
    known = QUANTIZATIONS[engine]
    return known.get(method) or known.get(method.replace("_", "-"))
