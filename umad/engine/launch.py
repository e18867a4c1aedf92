"""Describes how an engine is started: its options as one JSON argument, and its command line.

Pure, and importable without llama.cpp: the daemon uses it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from umad.config import EngineSettings, LaneSettings, SchedulerSettings, Settings
from umad.isolated import python_module

PROGRAM = "umad.engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Everything an engine needs to know before it starts."""

    # The name that requests call the model by.
    name: str
    # The GGUF file.
    path: str
    engine: EngineSettings = field(default_factory=EngineSettings)
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    lanes: Mapping[str, LaneSettings] = field(default_factory=lambda: Settings().qos)
    latency_cap: float = Settings().latency_cap
    # The longest prompt that is accepted; None leaves that to the context's size.
    prompt_tokens: int | None = None
    log_level: str = "info"
    verbose: bool = False
    # The budget of all engines together; None for no limit.
    budget_bytes_per_s: float | None = None
    # The budget is the machine's own measured bandwidth and not a user's wish.
    budget_measured: bool = False
    # The inherited device board; None where there is none.
    board_fd: int | None = None
    # This engine's place on the board.
    board_seat: int = 0
    # Memory that the engines of other models take.
    taken_bytes: int = 0
    # How long a completion waits for the client that chooses its tokens.
    choice_s: float = Settings().limits.choice_s

    @classmethod
    def of(cls, settings: Settings, *, name: str, path: str) -> "EngineOptions":
        """Pick the part of a daemon's settings that an engine for this model needs."""
        return cls(
            name=name,
            path=path,
            engine=settings.engine,
            scheduler=settings.scheduler,
            lanes=settings.qos,
            latency_cap=settings.latency_cap,
            prompt_tokens=settings.limits.prompt_tokens,
            log_level=settings.logging.level,
            verbose=settings.logging.verbose,
            choice_s=settings.limits.choice_s,
        )

    def to_json(self) -> str:
        """Encode as one line; `from_json` is its inverse."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "EngineOptions":
        """Decode. Both ends are the same version of umad, so an unknown key is a bug and raises."""
        values = json.loads(text)
        values["engine"] = EngineSettings(**values["engine"])
        values["scheduler"] = SchedulerSettings(**values["scheduler"])
        values["lanes"] = {name: LaneSettings(**one) for name, one in values["lanes"].items()}
        return cls(**values)


def command(options: EngineOptions, fd: int) -> list[str]:
    """The command line of an engine that speaks over the inherited socket `fd`."""
    return python_module(PROGRAM, "--fd", str(fd), "--options", options.to_json())
