"""Surroundings of a user who has nothing but a home."""

from pathlib import Path
from typing import Any

from umad.config import Settings
from umad.configuration.sources import LoadedSettings
from umad.doctor.finding import Finding, State
from umad.doctor.surroundings import Surroundings


def around(
    home: Path, *, environ: dict[str, str] | None = None, platform: str = "linux", **settings: Any
) -> Surroundings:
    """A user whose home is `home`, and whose settings are the defaults but for these."""
    return Surroundings(
        environ={"HOME": str(home), **(environ or {})},
        platform=platform,
        loaded=LoadedSettings(settings=Settings(**settings)),
    )


def states(found: list[Finding]) -> list[State]:
    return [one.state for one in found]


def only(found: list[Finding], state: State) -> Finding:
    """The one finding of that state."""
    (one,) = [one for one in found if one.state is state]
    return one
