"""Says what would fit, where a plan does not. Pure.

Looked at, in this order: a shorter context, more of the same accelerators, a quantization that the
engine makes by itself, KV in fp8, and as many of another accelerator. Each that is named was
reckoned as a plan, so it passes the engine's checks, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from umad.errors import BadRequest
from umad.scale.accelerators import ACCELERATORS, Machines, by_memory
from umad.scale.choice import Choice, Wish, choose, fits
from umad.scale.draft import Draft
from umad.scale.quantizations import NONE
from umad.scale.shape import ModelShape

_COUNTS = (1, 2, 4, 8)
_NODES = (2, 4, 8)
_MOST_OTHERS = 3
# What each engine makes of 16-bit files by itself.
_MADE = {"vllm": ("fp8", "int8_per_channel_weight_only"), "sglang": ("fp8", "bitsandbytes")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One change to a wish, with which it fits."""

    # What to write instead: accelerators, context, quantization, kv_dtype, tp.
    option: str
    value: str
    words: str


def alternatives(
    shape: ModelShape, machines: Machines, wish: Wish, *, draft: Draft | None = None
) -> tuple[Alternative, ...]:
    """What would fit, the least change first; empty where nothing that is known does."""
    found = list(_nearby(shape, machines, wish, draft))
    found.extend(_elsewhere(shape, machines, wish, draft))
    return tuple(found)


def _nearby(
    shape: ModelShape, machines: Machines, wish: Wish, draft: Draft | None
) -> Iterator[Alternative]:
    if wish.context_tokens:
        shorter = _tried(shape, machines, replace(wish, context_tokens=0), draft)
        if shorter is not None and shorter.chosen is not None:
            tokens = shorter.chosen.memory.context_tokens
            if tokens < wish.context_tokens:
                yield Alternative(
                    option="context", value=str(tokens), words=f"a context of {tokens:,} tokens"
                )
    if wish.tp or wish.pp or wish.dp:
        free = _tried(shape, machines, replace(wish, tp=0, pp=0, dp=0), draft)
        if free is not None and free.chosen is not None:
            split = free.chosen.split
            yield Alternative(
                option="tp",
                value=str(split.tp),
                words=f"TP={split.tp}, PP={split.pp}, DP={split.dp} on the same {machines}",
            )
    more = _more(shape, machines, replace(wish, dp=0), draft)
    if more is not None:
        yield more
    quantized = _quantized(shape, machines, wish, draft)
    if quantized is not None:
        yield quantized
    may_shorten = wish.kv_dtype != "fp8" and machines.accelerator.has_fp8
    if may_shorten and _fits(shape, machines, replace(wish, kv_dtype="fp8"), draft):
        yield Alternative(option="kv_dtype", value="fp8", words="KV in fp8")


def _quantized(
    shape: ModelShape, machines: Machines, wish: Wish, draft: Draft | None
) -> Alternative | None:
    """Another quantization: the files' own where another was asked for, else one made at load."""
    own = "the files' own quantization" if shape.quantization is not None else "no quantization"
    words = {} if wish.quantization in NONE else {"none": own}
    if shape.quantization is None:
        words |= {name: f"quantization {name}, made at load" for name in _MADE[wish.engine]}
    for name, said in words.items():
        other = replace(wish, quantization=name)
        if name != wish.quantization and _fits(shape, machines, other, draft):
            return Alternative(option="quantization", value=name, words=said)
    return None


def _more(
    shape: ModelShape, machines: Machines, wish: Wish, draft: Draft | None
) -> Alternative | None:
    """More of the same: in one machine, else in several full ones."""
    for count in _COUNTS:
        more = replace(machines, count=count)
        if count > machines.count and _fits(shape, more, wish, draft):
            return Alternative(option="accelerators", value=_written(more), words=f"{more}")
    full = replace(machines, count=max(machines.count, _COUNTS[-1]))
    for nodes in _NODES:
        more = replace(full, nodes=nodes)
        if nodes > machines.nodes and _fits(shape, more, wish, draft):
            return Alternative(option="nodes", value=str(nodes), words=f"{more}")
    return None


def _elsewhere(
    shape: ModelShape, machines: Machines, wish: Wish, draft: Draft | None
) -> Iterator[Alternative]:
    """As many of another accelerator with more memory, or with what a quantization needs."""
    n_found = 0
    for kind in by_memory(ACCELERATORS):
        if kind.name == machines.accelerator.name or kind.is_unified:
            continue
        other = replace(machines, accelerator=kind)
        if _fits(shape, other, replace(wish, share=0.0), draft):
            yield Alternative(option="accelerators", value=_written(other), words=f"{other}")
            n_found += 1
        if n_found == _MOST_OTHERS:
            return


def _fits(shape: ModelShape, machines: Machines, wish: Wish, draft: Draft | None) -> bool:
    try:
        return fits(shape, machines, wish, draft=draft)
    except BadRequest:  # such as a TP that other machines do not have
        return False


def _tried(shape: ModelShape, machines: Machines, wish: Wish, draft: Draft | None) -> Choice | None:
    try:
        return choose(shape, machines, wish, draft=draft)
    except BadRequest:
        return None


def _written(machines: Machines) -> str:
    return f"{machines.accelerator.name}:{machines.count}"
