"""The command line of the real engine for a model, from the daemon's settings. Pure."""

from collections.abc import Sequence

from umad.config import Settings
from umad.daemon.keeper import Launcher
from umad.daemon.names import ModelFile
from umad.engine.launch import EngineOptions, command


def engine_launcher(settings: Settings) -> Launcher:
    """How this daemon starts engines."""

    def launch(model: ModelFile, link_fd: int) -> Sequence[str]:
        options = EngineOptions.of(settings, name=model.name, path=str(model.path))
        return command(options, link_fd)

    return launch
