"""Who is told what engines do: the seam between their keepers and the requests they run."""

from collections.abc import Sequence
from typing import Any, Protocol

from umad.daemon.engine import Engine
from umad.errors import UmadError
from umad.protocol.link import StepReport


class EngineEvents(Protocol):
    """Who is told what engines do. Called on the daemon's loop; must not block."""

    def engine_ready(self, engine: Engine) -> None:
        """It takes messages, for the first time or again after a restart."""
        ...

    def engine_report(self, engine: Engine, report: StepReport, now_ns: int) -> None:
        """News of one step. now_ns: when they were read; one time for all that was read at once."""
        ...

    def engine_tokens(self, engine: Engine, unpacked: Sequence[Any], now_ns: int) -> None:
        """A step brought tokens and nothing else; as `umad.protocol.link.unpack` gives them."""
        ...

    def engine_died(self, engine: Engine) -> None:
        """Its process has gone; unless `engine_ended` follows, another one is being started."""
        ...

    def engine_ended(self, engine: Engine, error: UmadError) -> None:
        """It is not coming back: its requests end with `error`."""
        ...
