"""Explains a plan: why it is split so, and what to know before it is started. Pure. One sentence a
note. Not: refusals, which are the engines' own (`umad.scale.rules`).
"""

from collections.abc import Iterator

from umad.scale.accelerators import Machines
from umad.scale.choice import Candidate, Choice, Wish
from umad.scale.draft import Draft
from umad.scale.engines import TITLES
from umad.scale.quantizations import NONE, QUANTIZATIONS, substitute
from umad.scale.shape import ModelShape
from umad.scale.shape_words import feed_words, mixer_words


def notes(
    shape: ModelShape, machines: Machines, wish: Wish, choice: Choice, draft: Draft | None
) -> tuple[str, ...]:
    """All notes of a plan that fits."""
    chosen = choice.chosen
    if chosen is None:
        return ()
    return (
        *_split(shape, machines, wish, chosen),
        *_cells(shape, wish, chosen, choice),
        *_experts(shape, wish, chosen),
        *_precision(shape, machines, wish),
        *_rest(shape, machines, draft),
    )


def _split(shape: ModelShape, machines: Machines, wish: Wish, chosen: Candidate) -> Iterator[str]:
    split = chosen.split
    if wish.tp or wish.pp:
        yield f"TP={split.tp} and PP={split.pp} as asked."
    elif split.group == 1:
        yield "One accelerator holds the model, so nothing is split."
    else:
        yield (
            f"TP={split.tp}"
            + (f" and PP={split.pp}" if split.pp > 1 else "")
            + " is the smallest split that has room for weights and "
            + ("a text of the whole context." if not _is_short(shape, wish, chosen) else "cells.")
        )
    if split.dp > 1:
        yield f"The other accelerators serve copies: DP={split.dp}."
    idle = machines.total - split.total
    if idle:
        yield f"{idle} of {machines.total} accelerators are left over."
    if split.tp > 1 and not machines.accelerator.is_linked:
        yield (
            f"{machines.accelerator.name} has no direct links, so TP goes over the host's bus and "
            "is slow; fewer and larger accelerators would be faster."
        )
    if split.total > machines.count:
        yield (
            f"It goes over {machines.nodes} machines: start one engine process in each, with its "
            "rank and the address of the first."
        )


def _is_short(shape: ModelShape, wish: Wish, chosen: Candidate) -> bool:
    wished = wish.context_tokens or shape.context_tokens
    return bool(wished) and chosen.memory.context_tokens < wished


def _cells(shape: ModelShape, wish: Wish, chosen: Candidate, choice: Choice) -> Iterator[str]:
    split, found = chosen.split, chosen.memory
    yield f"Its layers: {mixer_words(shape)}."
    if _is_short(shape, wish, chosen):
        yield (
            f"A text of {choice.wished_tokens:,} tokens has no room; "
            f"{found.context_tokens:,} tokens do."
        )
    elif not shape.context_tokens and not wish.context_tokens:
        yield "The model does not say how long its texts are; 8,192 tokens are assumed."
    for n_kv_heads in sorted({one.n_kv_heads for one in shape.attentions}):
        if split.tp > n_kv_heads:
            yield (
                f"{n_kv_heads} KV heads are copied {split.tp // n_kv_heads} times, because there "
                f"are fewer than TP={split.tp}: more TP saves no cells."
            )
    if shape.is_latent and split.tp > 1:
        yield "MLA keeps one latent vector of a token, whole on every accelerator whatever TP is."
    if shape.is_latent and split.tp > 1 and shape.n_experts:
        how = (
            f"--data-parallel-size {split.tp} in TP's place"
            if wish.engine == "vllm"
            else f"--attn-dp-size {split.tp} beside TP"
        )
        yield (
            f"{how} would give each accelerator texts of its own, about {split.tp} times the "
            "tokens, with all of the attention's weights on each."
        )
    if any(one.reach_tokens for one in shape.attentions) and wish.engine == "sglang":
        yield (
            "SGLang sizes the pool of window layers by --swa-full-tokens-ratio (0.8), so they "
            "cost more than their windows."
        )


def _experts(shape: ModelShape, wish: Wish, chosen: Candidate) -> Iterator[str]:
    if not shape.n_experts:
        return
    split = chosen.split
    words = feed_words(shape)
    if split.ep == 1:
        yield f"{words}; their tensors are split {split.expert_tp} ways." if split.expert_tp > 1 \
            else f"{words}."  # fmt: skip
        return
    shared = -(-shape.n_experts // split.ep)
    yield f"{words}; EP={split.ep} gives each accelerator {shared} of them, whole."
    if wish.engine == "vllm" and split.dp > 1:
        yield "vLLM shares experts over TP x DP, so its copies step together."
    if shape.n_experts % split.ep:
        yield "Experts do not divide evenly; vLLM gives the first ranks one more."


def _precision(shape: ModelShape, machines: Machines, wish: Wish) -> Iterator[str]:
    device, title = machines.accelerator, TITLES[wish.engine]
    name = wish.quantization if wish.quantization not in NONE else ""
    if not name and shape.quantization is not None:
        name = shape.quantization.method
    method = QUANTIZATIONS[wish.engine].get(name)
    is_fp8 = name.startswith("fp8") or (
        shape.quantization is not None and shape.quantization.activation_bits == 8
    )
    native = method.native_capability if method is not None else 0
    if device.vendor == "nvidia" and native and device.capability < native:
        other = substitute(wish.engine, device.capability, on_amd=False)
        besides = f" (or {other})" if is_fp8 and other and shape.quantization is None else ""
        needs = "Ada or Hopper" if native == 89 else "Blackwell" if native >= 100 else "Hopper"
        yield (
            f"{device.name} does not multiply in {name}, which needs {needs}: {title} keeps the "
            "weights short and multiplies in 16 bits, which saves memory and no time; for speed "
            f"take files quantized to int8 (W8A8){besides}."
        )
    if not device.has_bf16:
        yield f"{device.name} has no bfloat16, so the engine needs --dtype half."
    if wish.kv_dtype == "fp8" and not device.has_fp8:
        yield f"{device.name} does not multiply in fp8, so KV in fp8 is widened at each step."


def _rest(shape: ModelShape, machines: Machines, draft: Draft | None) -> Iterator[str]:
    if draft is not None:
        how = "a head on the model's hidden states" if draft.is_head else "a model of its own"
        yield (
            f"The draft {draft.shape.name} is {how} ({draft.method}); its weights and cells are "
            "counted, and it is split as the model is."
        )
    if shape.is_gated:
        yield "The hub gives it to those who accepted its licence: set HF_TOKEN."
    if not shape.weights_bytes:
        yield "The weights' size is reckoned from the shapes; the files were not looked at."
    if shape.has_encoder and not shape.weights_bytes:
        yield "Its encoder of images or sound is not counted."
    if machines.accelerator.is_unified:
        yield (
            f"{machines.accelerator.name}'s memory is the machine's, so the engine gets "
            "85 % of it at most."
        )
