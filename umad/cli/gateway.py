"""Runs `umad gateway`: HTTP in front of a running daemon, in a process of its own."""

import os
from pathlib import Path
from typing import Any

from umad.cli.flags import GATEWAY, given_flags
from umad.cli.here import users_file
from umad.cli.parent import end_with_stdin
from umad.configuration.sources import load
from umad.gateway.serving import run_gateway
from umad.models.catalogue_file import UsersPresets
from umad.models.presets import SavedPresets
from umad.models.store import store_folder


def gateway(path: Path | None, until_stdin_closes: bool, **given: Any) -> int:
    """Serve the OpenAI, Anthropic, Ollama and native HTTP interfaces of the running daemon."""
    settings = load(environ=os.environ, flags=given_flags(GATEWAY, given), path=path).settings
    if until_stdin_closes:
        end_with_stdin()
    users, saved = UsersPresets(users_file(path)), SavedPresets(store_folder(os.environ))
    # What a person has written down comes first.
    return run_gateway(settings, presets=lambda: {**saved.current(), **users.current()})
