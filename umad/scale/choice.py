"""Chooses how a model is split: the smallest group of accelerators that holds it. Pure.

The order is the one that is fastest where everything else is equal: tensors are split within one
machine before layers are split into stages, and what is left over serves copies (DP). Degrees are
powers of two, or what uses all accelerators. A split that
the engine would refuse is no candidate. Where no context is asked for, the model's own is wished,
and the smallest group that holds a text of it wins; where none does, the split that holds the
longest text, if that is long enough to be of use.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from umad.errors import BadRequest
from umad.scale.accelerators import Machines
from umad.scale.draft import Draft, draft_refusals
from umad.scale.engines import EngineName
from umad.scale.memory import Load, Memory, memory
from umad.scale.quantization_rules import quantization_refusals
from umad.scale.quantizations import NONE, Quantization, quantization
from umad.scale.rules import Refusal, split_refusals
from umad.scale.shape import ModelShape
from umad.scale.split import Split
from umad.scale.weights import Precision

# A context below this is of no use to a chat: a plan that holds less does not fit.
LEAST_CONTEXT_TOKENS = 2048
# Where a model does not say how long its texts are.
_DEFAULT_CONTEXT_TOKENS = 8192
_ROUND_TOKENS = 256
_MOST_CONTEXT_TOKENS = 2**27


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody asks for. A degree of 0 is umad's choice."""

    engine: EngineName = "vllm"
    tp: int = 0
    pp: int = 0
    dp: int = 0
    # None: experts are split whole where the engine can.
    by_expert: bool | None = None
    # 0: as much as fits, up to the model's own.
    context_tokens: int = 0
    # "" for the model's own; else the engine's name of a quantization, or "none".
    quantization: str = ""
    # auto, or fp8.
    kv_dtype: str = "auto"
    share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A split that the engine accepts, with its memory."""

    split: Split
    memory: Memory

    @property
    def fits(self) -> bool:
        """Whether one text of the context has room."""
        return self.memory.fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What came of a wish. chosen is None where nothing fits."""

    load: Load
    chosen: Candidate | None
    # Others that fit, the nearest first.
    others: tuple[Candidate, ...]
    # The split that comes nearest, where none fits and the engine accepts any.
    nearest: Candidate | None
    # Why splits were no candidates: of the first one that each rule refused.
    refusals: tuple[Refusal, ...]
    wished_tokens: int


def choose(
    shape: ModelShape, machines: Machines, wish: Wish, *, draft: Draft | None = None
) -> Choice:
    """The best split. Raises `BadRequest` for a wish that makes no sense whatever the memory."""
    load, accepted, refusals = _accepted(shape, machines, wish, draft)
    wished_tokens = _wished_tokens(shape, wish)
    whole, short = _measured(load, accepted, machines, wish, wished_tokens)
    short.sort(key=lambda one: -one.memory.context_tokens)
    # vLLM's copies share experts, so a group may hold its part only. That saves memory, and makes
    # copies wait for each other: groups that hold the model by themselves go first.
    best = sorted([*whole, *short], key=lambda one: _leans(load, one.split, machines, wish))
    nearest = None
    if not best and accepted:
        tokens = wish.context_tokens or min(wished_tokens, LEAST_CONTEXT_TOKENS)
        # The last one splits most.
        last = max(accepted, key=lambda one: one.group)
        nearest = Candidate(split=last, memory=memory(load, last, machines, context_tokens=tokens))
    return Choice(
        load=load,
        chosen=best[0] if best else None,
        others=tuple(best[1:]),
        nearest=nearest,
        refusals=refusals,
        wished_tokens=wished_tokens,
    )


def fits(shape: ModelShape, machines: Machines, wish: Wish, *, draft: Draft | None = None) -> bool:
    """Whether some split holds the model: what `choose` would say, and much faster to know."""
    load, accepted, _ = _accepted(shape, machines, wish, draft)
    wished_tokens = _wished_tokens(shape, wish)
    tokens = wish.context_tokens or min(wished_tokens, LEAST_CONTEXT_TOKENS)
    return any(memory(load, one, machines, context_tokens=tokens).fits for one in accepted)


def _accepted(
    shape: ModelShape, machines: Machines, wish: Wish, draft: Draft | None
) -> tuple[Load, list[Split], tuple[Refusal, ...]]:
    """The load of a wish, the splits that the engine accepts, and a refusal of each rule."""
    _check(wish, shape, machines)
    wished = None if wish.quantization in NONE else quantization(wish.engine, wish.quantization)
    load = Load(
        shape=shape,
        engine=wish.engine,
        precision=_precision(shape, wished),
        kv_bytes=1 if wish.kv_dtype == "fp8" else shape.value_bytes,
        draft=draft,
        share=wish.share,
    )
    refused = quantization_refusals(shape, wished, wish.engine, machines.accelerator)
    if refused:
        return load, [], refused
    refusals: dict[str, Refusal] = {}
    accepted: list[Split] = []
    for split in _splits(shape, machines, wish):
        found = split_refusals(shape, split, machines)
        if draft is not None:
            found += draft_refusals(draft, split, machines, shape)
        for one in found:
            refusals.setdefault(one.rule, one)
        if not found:
            accepted.append(split)
    return load, accepted, tuple(refusals.values())


def _wished_tokens(shape: ModelShape, wish: Wish) -> int:
    return wish.context_tokens or shape.context_tokens or _DEFAULT_CONTEXT_TOKENS


def _measured(
    load: Load, splits: list[Split], machines: Machines, wish: Wish, wished_tokens: int
) -> tuple[list[Candidate], list[Candidate]]:
    """Splits that hold a text of the wish, in order; and those that hold a shorter one."""
    whole: list[Candidate] = []
    short: list[Candidate] = []
    least = min(wished_tokens, LEAST_CONTEXT_TOKENS)
    for split in splits:
        found = memory(load, split, machines, context_tokens=wished_tokens)
        if found.fits:
            whole.append(Candidate(split=split, memory=found))
        elif not wish.context_tokens:
            tokens = _longest(load, split, machines, least=least, most=wished_tokens)
            if tokens:
                found = memory(load, split, machines, context_tokens=tokens)
                short.append(Candidate(split=split, memory=found))
    return whole, short


def _leans(load: Load, split: Split, machines: Machines, wish: Wish) -> bool:
    """Whether a group has no room for the model without what copies hold for it."""
    if wish.dp or split.dp == 1 or split.engine != "vllm" or not load.shape.n_experts:
        return False
    alone = replace(split, dp=1, ep=split.tp if split.ep > 1 else 1)
    tokens = min(wish.context_tokens or LEAST_CONTEXT_TOKENS, LEAST_CONTEXT_TOKENS)
    return not memory(load, alone, machines, context_tokens=tokens).fits


def _longest(load: Load, split: Split, machines: Machines, *, least: int, most: int) -> int:
    """By halves, because the workspace shrinks with the context, too."""
    if not memory(load, split, machines, context_tokens=least).fits:
        return 0
    low, high = least, most
    while low < high:
        middle = (low + high + 1) // 2
        if memory(load, split, machines, context_tokens=middle).fits:
            low = middle
        else:
            high = middle - 1
    return max(least, low // _ROUND_TOKENS * _ROUND_TOKENS)


# -- candidates ------------------------------------------------------------------------------------


def _splits(shape: ModelShape, machines: Machines, wish: Wish) -> Iterator[Split]:
    """All splits of a wish: the fewest stages first, then the smallest TP."""
    tps = [wish.tp] if wish.tp else _degrees(machines.count)
    pps = [wish.pp] if wish.pp else _degrees(machines.total)
    pairs = [(tp, pp) for pp in pps for tp in tps if tp * pp <= machines.total or wish.tp]
    for tp, pp in pairs:
        dp = wish.dp or _copies(wish.engine, machines, tp, pp)
        base = Split(engine=wish.engine, tp=tp, pp=pp, dp=dp)
        ranks = base.expert_ranks
        if not shape.n_experts:
            if not wish.by_expert:
                yield base
            else:
                yield replace(base, ep=max(2, ranks))  # refused, with the reason
        elif wish.by_expert is None and ranks > 1:
            # Whole experts, else their tensors, where the engine refuses the first.
            yield replace(base, ep=ranks)
            yield base
        else:
            yield replace(base, ep=ranks) if wish.by_expert else base


def _degrees(most: int) -> list[int]:
    """Degrees that are worth a look: powers of two, and what uses all accelerators."""
    return [one for one in range(1, most + 1) if one & (one - 1) == 0 or most % one == 0]


def _copies(engine: EngineName, machines: Machines, tp: int, pp: int) -> int:
    """Copies that the accelerators hold; the tensors of none go over a machine's edge."""
    if engine == "sglang" and machines.nodes > 1:
        return 1  # it refuses copies over several machines
    groups = machines.count // tp * machines.nodes
    return max(1, groups // pp)


def _check(wish: Wish, shape: ModelShape, machines: Machines) -> None:
    for name in ("tp", "pp", "dp"):
        value = getattr(wish, name)
        if value < 0 or value > 1024:
            raise BadRequest(f"{name} is {value}; it is 1 or more", field=name)
    if wish.tp > machines.count:
        raise BadRequest(
            f"tp {wish.tp} is above the {machines.count} of {machines}: tensors are split within "
            f"one machine; take tp {_power(machines.count)} or more accelerators",
            field="tp",
        )
    asked = max(1, wish.tp) * max(1, wish.pp) * max(1, wish.dp)
    if asked > machines.total:
        raise BadRequest(
            f"tp, pp and dp ask for {asked} accelerators, and {machines} are {machines.total}",
            field="accelerators",
        )
    if wish.context_tokens < 0 or wish.context_tokens > _MOST_CONTEXT_TOKENS:
        raise BadRequest(
            f"a context of {wish.context_tokens} tokens is no context", field="context"
        )
    if shape.context_tokens and wish.context_tokens > shape.context_tokens:
        raise BadRequest(
            f"{shape.name} reads texts of {shape.context_tokens:,} tokens, and the context asked "
            f"for is {wish.context_tokens:,}; the engines refuse more",
            field="context",
        )
    if wish.share and not 0.05 <= wish.share <= 1:
        raise BadRequest(f"a share of {wish.share} is not within 0.05 and 1", field="share")
    if wish.kv_dtype not in ("auto", "fp8"):
        raise BadRequest(
            f"{wish.kv_dtype[:20]!r} is no type of KV that is reckoned: auto, fp8", field="kv_dtype"
        )


def _precision(shape: ModelShape, wished: Quantization | None) -> Precision:
    files = Precision.loaded(shape)
    if wished is None or not wished.weight_bits or shape.quantization is not None:
        return files
    return files.made(wished.weight_bits, experts_only=wished.experts_only)


def _power(count: int) -> int:
    """The largest power of two that is not above a count."""
    return 1 << (count.bit_length() - 1)
