"""Describes how an engine is started: its options as one JSON argument, and its command line.

Pure, and importable without llama.cpp: the daemon uses it.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from umad.config import (
    EngineSettings,
    LaneSettings,
    MediaSettings,
    SchedulerSettings,
    Settings,
)
from umad.isolated import python_module
from umad.models.projectors import NONE, chosen

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
    media: MediaSettings = field(default_factory=MediaSettings)
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
    # The projector that belongs to the model; None where none is known.
    projector: str | None = None
    # Files that may be its draft, the one to be tried first before the others.
    drafts: tuple[str, ...] = ()
    # How long a completion waits for the client that chooses its tokens.
    choice_s: float = Settings().limits.choice_s

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        name: str,
        path: str,
        projector: Path | None = None,
        drafts: Iterable[Path] = (),
    ) -> "EngineOptions":
        """Pick the part of a daemon's settings that an engine for this model needs. projector:
        what is kept with the model. drafts: the files that may be its draft."""
        return cls(
            name=name,
            path=path,
            projector=None if projector is None else str(projector),
            drafts=tuple([str(one) for one in drafts]),
            engine=replace(settings.engine, mmproj=_mmproj(settings, name)),
            scheduler=settings.scheduler,
            media=settings.media,
            lanes=settings.qos,
            latency_cap=settings.latency_cap,
            prompt_tokens=settings.limits.prompt_tokens,
            log_level=settings.logging.level,
            verbose=settings.logging.verbose,
            choice_s=settings.limits.choice_s,
        )

    @property
    def projector_path(self) -> Path | None:
        """The projector that is loaded with the model; None for none."""
        return chosen(Path(self.path), named=self.engine.mmproj, known=self.projector)

    def to_json(self) -> str:
        """Encode as one line; `from_json` is its inverse."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "EngineOptions":
        """Decode. Both ends are the same version of umad, so an unknown key is a bug and raises."""
        values = json.loads(text)
        values["engine"] = EngineSettings(**values["engine"])
        values["scheduler"] = SchedulerSettings(**values["scheduler"])
        values["drafts"] = tuple(values["drafts"])
        media = values["media"]
        networks = tuple(media.pop("remote_networks"))
        values["media"] = MediaSettings(**media, remote_networks=networks)
        values["lanes"] = {name: LaneSettings(**one) for name, one in values["lanes"].items()}
        return cls(**values)


def is_named_beside(settings: Settings, name: str) -> bool:
    """Whether a model is among those that are named with the options: a file that an option names
    belongs to those."""
    return name in settings.models or name in [Path(one).stem for one in settings.models]


def _mmproj(settings: Settings, name: str) -> str | None:
    """A projector that is named is that of the models named beside it. Its path is relative to the
    user's working folder, and engines work in another folder."""
    named = settings.engine.mmproj
    if named is None or named == NONE:
        return named
    is_of_them = is_named_beside(settings, name)
    return os.path.abspath(os.path.expanduser(named)) if is_of_them else None


def command(options: EngineOptions, fd: int) -> list[str]:
    """The command line of an engine that speaks over the inherited socket `fd`."""
    return python_module(PROGRAM, "--fd", str(fd), "--options", options.to_json())
