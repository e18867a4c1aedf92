"""Defines the report that an app of `umad demo` sends to the demo: one JSON line each."""

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Report:
    """What an app felt since its last report.

    read: prompt tokens computed for it. gaps_ms: between arrivals. tail: the latest text.
    """

    read: int = 0
    tokens: int = 0
    done: int = 0
    gaps_ms: list[float] = field(default_factory=list)
    ttft_ms: list[float] = field(default_factory=list)
    tail: str = ""
    error: str | None = None
