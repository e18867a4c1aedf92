"""Defines the interface through which keepers report what their engines do."""

from collections.abc import Sequence
from typing import Any, Protocol

from umad.daemon.engine import Engine
from umad.errors import UmadError
from umad.protocol.link import StepReport


class EngineEvents(Protocol):
    """Receives what engines do. Called on the daemon's loop; must not block."""

    def engine_ready(self, engine: Engine) -> None:
        """The engine takes messages, for the first time or again after a restart."""
        ...

    def engine_report(self, engine: Engine, report: StepReport, now_ns: int) -> None:
        """One step brought news.

        now_ns: when the news was read; news read together has the same time.
        """
        ...

    def engine_tokens(self, engine: Engine, unpacked: Sequence[Any], now_ns: int) -> None:
        """A step brought tokens and nothing else, as `umad.protocol.link.unpack` gives them."""
        ...

    def engine_died(self, engine: Engine) -> None:
        """The engine's process has gone. Another one is started unless `engine_ended` follows."""
        ...

    def engine_suspended(self, engine: Engine) -> None:
        """The idle engine's process has ended to give memory back. The next request starts another
        one.
        """
        ...

    def engine_gave_way(self, engine: Engine) -> None:
        """The engine's process ends for another model's sake. What it had to do waits for the next
        one.
        """
        ...

    def engine_waits(self, engine: Engine) -> None:
        """Requests wait because the engine is not ready yet. Called once a second while they do."""
        ...

    def engine_ended(self, engine: Engine, error: UmadError) -> None:
        """The engine is not started again: its requests end with `error`."""
        ...
