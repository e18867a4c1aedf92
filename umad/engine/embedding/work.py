"""Describes embedding work: the answer a request wants, and what one slice brought. Values only."""

from dataclasses import dataclass, field

from umad.protocol.link import EngineReply


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The answer that a request wants: vectors, or with `ranks` scores of pairs."""

    call: int
    # Tokens of each input.
    sizes: tuple[int, ...]
    # Numbers of a vector.
    width: int
    # Scale vectors to length 1.
    normalize: bool = True
    # Answer with scores instead of vectors.
    ranks: bool = False
    # Give only so many scores, the best ones in order; None for all.
    top: int | None = None


@dataclass(slots=True)
class Embedded:
    """The result of one embedding slice."""

    # Wall time of the decode.
    ns: int = 0
    was_cut: bool = False
    # Replies to requests that are complete now, or have failed.
    replies: list[EngineReply] = field(default_factory=list)
    # Calls of the requests that have failed.
    failed: list[int] = field(default_factory=list)


NOTHING = Embedded()
