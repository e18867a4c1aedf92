"""Builds the command line of the real engine for a model, from what the daemon has settled: an
engine of llama.cpp, or for a Whisper model the speech engine.
"""

import os
from collections.abc import Sequence
from dataclasses import replace

from umad.config import Settings, guarded_lanes
from umad.daemon.bandwidth import Budget
from umad.daemon.device_board import DeviceBoard
from umad.daemon.drafts import DraftFiles
from umad.daemon.engine_process import Launcher
from umad.daemon.names import ModelFile
from umad.engine.launch import EngineOptions, command
from umad.models.whisper import is_speech_file
from umad.speech.launch import SpeechOptions
from umad.speech.launch import command as speech_command


def engine_launcher(
    settings: Settings,
    *,
    budget: Budget | None = None,
    board: DeviceBoard | None = None,
    drafts: DraftFiles | None = None,
) -> Launcher:
    """The function by which this daemon starts engines.

    board: gives each engine its seat; engines inherit its descriptor. drafts: finds the files that
    may be a model's draft.
    """
    if settings.engine.session_dir is not None:
        # The path is relative to the user's working folder, and engines work in another folder.
        folder = os.path.abspath(os.path.expanduser(settings.engine.session_dir))
        settings = replace(settings, engine=replace(settings.engine, session_dir=folder))

    guarded = sorted(guarded_lanes(settings.qos))

    def launch_speech(model: ModelFile, link_fd: int) -> Sequence[str]:
        options = SpeechOptions.of(settings, name=model.name, path=str(model.path), guarded=guarded)
        if board is not None:
            options = replace(options, board_fd=board.fd, board_seat=board.seat(model.name))
        return speech_command(options, link_fd)

    def launch(model: ModelFile, link_fd: int) -> Sequence[str]:
        if is_speech_file(model.path):
            return launch_speech(model, link_fd)
        options = EngineOptions.of(
            settings,
            name=model.name,
            path=str(model.path),
            projector=model.projector,
            drafts=() if drafts is None else drafts.of(model),
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
