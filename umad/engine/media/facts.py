"""Tells what a model with its projector can see and hear. A value; pure."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFacts:
    """The abilities of one projector with one model."""

    # The projector's file.
    path: str
    # Its weights.
    size_bytes: int
    # Tells it from every other projector: of its header, its size and where its tensors lie.
    fingerprint: str
    vision: bool = False
    audio: bool = False
    # Samples a second that it hears; 0 where it hears nothing.
    sample_rate: int = 0
    # Positions of an image have two dimensions, so there are fewer of them than cells.
    mrope: bool = False
    # All rows of an image look at one another, so they are computed in one micro-batch.
    non_causal: bool = False

    def as_map(self) -> dict[str, Any]:
        """Plain values, for the link."""
        return asdict(self)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of media that a request may have, as `Medium.kind` names them."""
        return (*(("image",) if self.vision else ()), *(("audio",) if self.audio else ()))
