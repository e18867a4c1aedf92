"""Builds the command line of the real engine for a model, from what the daemon has settled."""

import os
from collections.abc import Sequence
from dataclasses import replace

from umad.config import Settings
from umad.daemon.bandwidth import Budget
from umad.daemon.device_board import DeviceBoard
from umad.daemon.engine_process import Launcher
from umad.daemon.names import ModelFile
from umad.engine.launch import EngineOptions, command


def engine_launcher(
    settings: Settings, *, budget: Budget | None = None, board: DeviceBoard | None = None
) -> Launcher:
    """The function by which this daemon starts engines.

    board: gives each engine its seat; engines inherit its descriptor.
    """
    if settings.engine.session_dir is not None:
        # The path is relative to the user's working folder, and engines work in another folder.
        folder = os.path.abspath(os.path.expanduser(settings.engine.session_dir))
        settings = replace(settings, engine=replace(settings.engine, session_dir=folder))

    def launch(model: ModelFile, link_fd: int) -> Sequence[str]:
        options = EngineOptions.of(
            settings, name=model.name, path=str(model.path), projector=model.projector
        )
        options = replace(options, taken_bytes=model.beside_bytes)
        if budget is not None:
            options = replace(
                options, budget_bytes_per_s=budget.bytes_per_s, budget_measured=budget.measured
            )
        if board is not None:
            options = replace(options, board_fd=board.fd, board_seat=board.seat(model.name))
        return command(options, link_fd)

    return launch
