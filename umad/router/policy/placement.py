"""Says where a session goes, and why, in words for people. Values only."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class Reason(enum.IntEnum):
    """Why a session is where it is. The numbers are kept in the table of sessions."""

    KNOWN = 1
    NEW = 2
    # It had a node that is down, gone or silent for too long, or that has lost its model.
    NODE_LOST = 3
    MODEL_LEFT = 4
    # Its node was at its cap for a while, and this one has much more room.
    MOVED = 5


class Tier(enum.IntEnum):
    """What serving a model means for a node. Lower is better."""

    LOADED = 0
    # It has to be loaded, and there is memory for it.
    FITS = 1
    # Another model has to leave for it.
    DISPLACES = 2


_REASONS = {
    Reason.KNOWN: "its earlier turns went there, and their cells are kept there",
    Reason.NEW: "it is new",
    Reason.NODE_LOST: "the node that had it failed, fell silent or left",
    Reason.MODEL_LEFT: "the node that had it no longer has its model",
    Reason.MOVED: "the node that had it was at its cap for a while, and this one has more room",
}
_TIERS = {
    Tier.LOADED: "its model is loaded there",
    Tier.FITS: "its model has to be loaded there, and fits",
    Tier.DISPLACES: "its model has to be loaded there, and another one leaves for it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A node that was looked at. open: the requests that ran or waited there, newcomers threefold.
    size: how much it can do, where the largest of the fleet is 1."""

    node: str
    open: float
    size: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A session has a node."""

    node: str
    # The node's number, which HAProxy's stick table takes.
    number: int
    reason: Reason
    # The session's key; None for a request that belongs to none.
    key: str | None = None
    tier: Tier = Tier.LOADED
    # The two that were drawn, the chosen one first. Empty for a known session that stays.
    candidates: tuple[Candidate, ...] = ()
    # Nobody had room, so it went where the fewest requests are open for the node's size.
    crowded: bool = False

    @property
    def is_pin(self) -> bool:
        """Whether HAProxy's stick table has to be told."""
        return self.key is not None and self.reason is not Reason.KNOWN

    def words(self) -> str:
        """One sentence for a person."""
        said = f"on {self.node}, because {_REASONS[self.reason]}"
        if self.reason is Reason.KNOWN:
            return said
        said += f"; {_TIERS[self.tier]}"
        if self.crowded:
            said += "; no node had room, so it went where fewest are open"
        return said + _compared(self.candidates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaced:
    """No node can take it. why: for a person, with what would help."""

    why: str
    # Whether the same request may find a node later.
    retryable: bool = True


def _compared(candidates: Sequence[Candidate]) -> str:
    if len(candidates) < 2:
        return ""
    chosen, other = candidates[:2]
    return (
        f"; of the two that were drawn, {chosen.node} had {chosen.open:.0f} open requests at a "
        f"size of {chosen.size:.0%}, and {other.node} {other.open:.0f} at {other.size:.0%} "
        "(those whose prompts are read count more)"
    )
