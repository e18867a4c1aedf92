"""Defines the report that an app of `umad demo` sends to the demo: one JSON line each."""

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Report:
    """What an app felt since its last report."""

    # Prompt tokens computed for the app.
    read: int = 0
    tokens: int = 0
    done: int = 0
    # Times between arrivals of text.
    gaps_ms: list[float] = field(default_factory=list)
    ttft_ms: list[float] = field(default_factory=list)
    # The latest text.
    tail: str = ""
    error: str | None = None
