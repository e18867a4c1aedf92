"""Checks that the configuration can be read, and that the files it names are there."""

import shlex
from pathlib import Path

from umad.daemon.names import NANO, find_model_file
from umad.doctor.finding import Finding, good, note, wrong
from umad.doctor.surroundings import Surroundings
from umad.errors import ModelLoadFailed, UmadError
from umad.models.gguf import read_header

CHECK = "settings"


def check(around: Surroundings) -> list[Finding]:
    """Look at the configuration, its models and its folders."""
    if around.config_error:
        where = around.config_error.partition(": ")[0]
        return [
            wrong(
                CHECK,
                f"the configuration cannot be used: {around.config_error}",
                around.config_error,
                mend=f"mend what the line says ({where}), then: umad config check",
            )
        ]
    path = around.loaded.path
    found = [
        good(CHECK, "no configuration file; the defaults are in force")
        if path is None
        else good(CHECK, f"the configuration is good: {path}", str(path))
    ]
    found += [one for model in around.settings.models if (one := _model(model)) is not None]
    for folder in around.settings.model_folders:
        if not Path(folder).expanduser().is_dir():
            found.append(
                note(
                    CHECK,
                    f"a folder of models is missing: {folder}",
                    folder,
                    mend=f"mkdir -p {shlex.quote(folder)}, or take it out of model_folders",
                )
            )
    return found


def _model(model: str) -> Finding | None:
    """A finding about a model that cannot be served; None for one whose header can be read."""
    if model == NANO:
        return None
    try:
        file = find_model_file(model)
        read_header(file.path)
    except ModelLoadFailed as error:
        return wrong(
            CHECK,
            f"a model of the configuration cannot be loaded: {error.message}",
            error.message,
            mend=f"give the path of a whole GGUF file instead of {shlex.quote(model)}",
        )
    except UmadError:
        return None  # a name, which the daemon looks up
    return None
