"""Gathers what checks look at: settings, environment and platform. Read once, then frozen."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from umad.config import Settings
from umad.configuration.sources import LoadedSettings, load
from umad.errors import BadConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """One user's umad on one machine."""

    environ: Mapping[str, str]
    # As `sys.platform`.
    platform: str
    # What a daemon would start with; the defaults where the configuration is wrong.
    loaded: LoadedSettings
    # Why the configuration cannot be read; empty where it can.
    config_error: str = ""
    # The socket that was named on the command line.
    socket: str | None = None

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.loaded.settings


def surroundings(
    environ: Mapping[str, str],
    *,
    path: Path | None = None,
    socket: str | None = None,
    platform: str = sys.platform,
) -> Surroundings:
    """Look at `environ` and the configuration file. A wrong configuration is a finding, and no
    error here.
    """
    error = ""
    try:
        loaded = load(environ=environ, path=path, platform=platform)
    except BadConfig as problem:
        error = problem.message
        loaded = LoadedSettings(settings=Settings())
    return Surroundings(
        environ=environ, platform=platform, loaded=loaded, config_error=error, socket=socket
    )
