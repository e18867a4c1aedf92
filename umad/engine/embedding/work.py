"""Embedding work as values: an answer that is wanted, and what one slice brought. Values only."""

from dataclasses import dataclass, field

from umad.protocol.link import EngineReply


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a request is to be answered with: with `ranks` scores, the `top` best of them in order;
    else vectors of `width` numbers, scaled to length 1 if `normalize`. sizes: tokens of each
    input."""

    call: int
    sizes: tuple[int, ...]
    width: int
    normalize: bool = True
    ranks: bool = False
    top: int | None = None


@dataclass(slots=True)
class Embedded:
    """ns: wall time of the decode. replies: of requests that are whole now, or failed; failed:
    calls of the latter."""

    ns: int = 0
    was_cut: bool = False
    replies: list[EngineReply] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)


NOTHING = Embedded()
