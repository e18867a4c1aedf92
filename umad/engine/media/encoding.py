"""Defines the seam between an engine and what encodes media for it. Protocols and values."""

from typing import Protocol

from umad.engine.media.facts import MediaFacts
from umad.engine.media.layout import MediumLayout
from umad.engine.media.rows import Rows
from umad.media.medium import Medium, MediumKind


class SizedMedium(Protocol):
    """The sizes of a medium, whether or not its pixels are at hand; as in `Medium`."""

    @property
    def kind(self) -> MediumKind: ...
    @property
    def content_id(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def samples(self) -> int: ...
    @property
    def rate(self) -> int: ...


class EncodeWork(Protocol):
    """The encoding of one run of a medium, which goes on only while `go_on` waits for it, but for a
    part of it that takes long."""

    def go_on(self, turn_ns: int, late_ns: int) -> bool:
        """Compute for about so long; True once it is done. A part of it that takes longer is waited
        for at most `late_ns` longer. Step thread. Raises `BadRequest` where the rows of this medium
        cannot be computed."""
        ...

    @property
    def computes(self) -> bool:
        """Whether it computes now, between turns: a part of it takes long."""
        ...

    def stop(self, turn_ns: int) -> bool:
        """End it before it is done, since nobody wants its rows: between two parts of it, and
        within about so long. True once it has ended. Step thread."""
        ...

    def rows(self) -> Rows:
        """float32 (n_rows, width), once it is done. The caller's own."""
        ...

    def close(self) -> None:
        """Give its memory back. An encoding that is not done ends between two parts of it."""
        ...


class MediaEncoder(Protocol):
    """Encodes media for one model."""

    facts: MediaFacts
    # Everything that rows depend on besides the medium.
    rows_by: str

    def layout(self, medium: SizedMedium) -> MediumLayout:
        """What stands for a medium in a prompt; no pixel is read. Any thread. Raises `BadRequest`
        for a medium that the model cannot take."""
        ...

    def begin(self, medium: Medium, index: int, *, gently: bool) -> EncodeWork:
        """Begin to encode run `index` of a medium's layout. One at a time. Step thread. gently:
        what can be held at no part of it is done on idle cores first, since streams are read."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...
