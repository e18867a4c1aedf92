"""Checks that the configuration and the user's file of models can be read, and that the models and
folders they name are there.
"""

import os
import shlex

from umad.configuration.sources import default_path
from umad.daemon.names import NANO, find_model_file
from umad.doctor.finding import Finding, good, note, wrong
from umad.doctor.surroundings import Surroundings
from umad.errors import BadConfig, ModelLoadFailed, UnknownModel
from umad.models.catalogue import Catalogue
from umad.models.catalogue_file import FILE, shipped, with_users
from umad.models.found import file_facts
from umad.models.library import Library, machine_library

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
    users_file = (path or default_path(around.environ, platform=around.platform)).with_name(FILE)
    known = Catalogue()
    try:
        known = with_users(shipped(), users_file)
    except BadConfig as error:
        found.append(
            wrong(
                CHECK,
                f"your file of models cannot be used, so no daemon starts: {error.message}",
                error.message,
                mend=f"mend what the line says, or move the file away: {users_file}",
            )
        )
    here = machine_library(
        around.environ,
        folders=around.settings.model_folders,
        catalogue=known,
        others=around.settings.model_places,
        platform=around.platform,
    )
    # A model that is preloaded, and cannot be, is only a line in the daemon's log.
    named = dict.fromkeys((*around.settings.models, *around.settings.preload))
    found += [one for model in named if (one := _model(model, here)) is not None]
    for folder in around.settings.model_folders:
        if not os.path.isdir(os.path.expanduser(folder)):
            found.append(
                note(
                    CHECK,
                    f"a folder of models is missing: {folder}",
                    folder,
                    mend=f"mkdir -p {shlex.quote(folder)}, or take it out of model_folders",
                )
            )
    return found


def _model(model: str, here: Library) -> Finding | None:
    """A finding about a model that cannot be served; None for one whose header can be read."""
    if model == NANO:
        return None
    mend = f"give the path of a whole GGUF file instead of {shlex.quote(model)}"
    try:
        named = here.find(model)
        if named is not None and named.problem:
            raise ModelLoadFailed(f"{named.name}: {named.problem}")
        file_facts(find_model_file(model).path if named is None else named.files.main)
    except ModelLoadFailed as error:
        why = error.message
    except UnknownModel:
        # It says how to fetch it, where that is known.
        why = here.unknown(model).message
        mend = f"umad pull {shlex.quote(model)}, or name another one: umad ls"
    else:
        return None
    return wrong(
        CHECK, f"a model of the configuration cannot be loaded: {why}", why, model, mend=mend
    )
