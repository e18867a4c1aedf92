"""Makes the library of this machine for a command, as the daemon of this configuration has it."""

import os
from pathlib import Path

from umad import nano
from umad.adapters import parted
from umad.config import Settings
from umad.configuration.sources import default_path, load
from umad.daemon.names import is_scheme
from umad.errors import BadConfig, BadRequest
from umad.models.catalogue import Catalogue
from umad.models.catalogue_file import FILE, shipped, with_users
from umad.models.files import ModelFiles
from umad.models.found import FoundModel
from umad.models.library import Library, machine_library
from umad.models.presets import SavedPresets, with_saved
from umad.models.reference import parse
from umad.models.store import store_folder
from umad.preset import Preset


def catalogue(config: Path | None = None) -> Catalogue:
    """The catalogue that ships, with the user's own file on top, and the saved presets. Raises
    `BadConfig`.
    """
    return with_saved(with_users(shipped(), users_file(config)), store_folder(os.environ))


def users_file(config: Path | None = None) -> Path:
    """The user's own file of models, whether it exists or not. config: the configuration beside
    which it lies, as `--config` names it.
    """
    named = os.environ.get("UMAD_CONFIG")
    return (config or (Path(named) if named else default_path(os.environ))).with_name(FILE)


def library(settings: Settings | None = None, config: Path | None = None) -> Library:
    """The library of this machine. settings, config: those of the environment unless given."""
    known = settings or load(environ=os.environ).settings
    return machine_library(
        os.environ,
        folders=known.model_folders,
        catalogue=catalogue(config),
        taken=(nano.NAME,),
        others=known.model_places,
    )


def shipped_model() -> FoundModel:
    """nano."""
    path = nano.path()
    return FoundModel(
        name=nano.NAME,
        files=ModelFiles(parts=(path,)),
        place="umad",
        size_bytes=path.stat().st_size,
    )


def found(here: Library, name: str) -> FoundModel:
    """The model that `name` means. Raises `UnknownModel`, which names near ones or says how to get
    it.
    """
    if name == nano.NAME:
        return shipped_model()
    model = here.find(name)
    if model is None:
        raise here.unknown(name, others=(nano.NAME,))
    return model


def is_model(word: str) -> bool:
    """True for a word that names a model, one that is here or could be fetched,
    and no prompt. Looks at the disk.
    """
    if not word or len(word.split()) != 1:
        return False
    try:
        here = library()
    except BadConfig:  # which says nothing about a word; `umad config check` says what is wrong
        return False
    # It may name adapters.
    return any(_is_named(here, name) for name in (word, parted(word)[0]))


def _is_named(here: Library, name: str) -> bool:
    if here.find(name, whole=True) is not None or _is_reference(name):
        return True
    known = here.catalogue
    return known.meant(name) is not None or known.has_family(name) or known.get(name) is not None


def _is_reference(word: str) -> bool:
    """True for a word whose scheme says where a model comes from: `hf:org/repo`. Nobody would write
    such a prompt; `and/or` may be one.
    """
    if not is_scheme(word):
        return False
    try:
        parse(word)
    except BadRequest:  # an address of another site, say
        return False
    return True


def preset(word: str) -> Preset | None:
    """The preset of that name: the user's own, else a saved one."""
    path = users_file()
    # Most people have none: nothing is imported or read for them.
    own = with_users(Catalogue(), path).preset(word) if os.path.isfile(path) else None
    if own is not None:
        return own
    saved = SavedPresets(store_folder(os.environ)).current()
    return Catalogue(presets=saved).preset(word) if saved else None
