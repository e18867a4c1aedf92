"""Settles the option `llama_library`: the path of a library, `auto`, or nothing.

The result stands in this process's environment, under the option's own variable, so that every
process that it starts computes with the same library: engines, estimates, quantizations, trials.
There it is a whole path, and whoever reads it looks again whether the files are still those that
were accepted. Nothing means the library inside llama-cpp-python, unless its own variable
LLAMA_CPP_LIB_PATH names a folder: that one is looked at like any other.
"""

import logging
import os
import platform as machine_facts
import sys
import sysconfig
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from umad.cache_path import cache_folder
from umad.config import Settings
from umad.engine.library.accepted import AcceptedLibraries, AcceptedLibrary
from umad.engine.library.asking import OPTION, ask
from umad.engine.library.backends import VARIABLE as BACKENDS_VARIABLE
from umad.engine.library.backends import use_backends
from umad.engine.library.places import BINDING_VARIABLE, library_folders, library_in
from umad.errors import BadConfig
from umad.isolated import LIBRARY_VARIABLES
from umad.version import __version__

log = logging.getLogger(__name__)

AUTO = "auto"
VARIABLE = f"UMAD_{OPTION.upper()}"
_FILE = "libraries.json"
# They decide which ggml, and which of its devices, a library finds.
_SEARCH_VARIABLES = (*LIBRARY_VARIABLES, "GGML_BACKEND_PATH")
_OWN = "the library of llama-cpp-python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The library that was settled on."""

    # None for the one inside llama-cpp-python.
    library: AcceptedLibrary | None
    # One line for a person, where there was something to choose.
    line: str = ""

    @property
    def path(self) -> Path | None:
        """Its file."""
        return None if self.library is None else self.library.path


def use_libraries(settings: Settings, environ: MutableMapping[str, str]) -> Choice:
    """Settle which files this process and its children compute with: the library, and the backends
    that are loaded beside it. Raises `BadConfig` for a library that does not fit.
    """
    use_backends(settings.backends, environ)
    return use_library(settings.llama_library, environ)


def use_library(named: str | None, environ: MutableMapping[str, str]) -> Choice:
    """Settle the option, and leave the result in `environ` for this process and its children.
    Raises `BadConfig` for a library that does not fit.
    """
    choice = settle(named, environ)
    if choice.path is None:
        environ.pop(VARIABLE, None)
        # auto has passed it over.
        environ.pop(BINDING_VARIABLE, None)
    else:
        environ[VARIABLE] = str(choice.path)
    return choice


def is_another(environ: Mapping[str, str]) -> bool:
    """Whether processes with this environment compute with another library than the one inside
    llama-cpp-python, or with more backends. The drivers of their devices are loaded with them.
    """
    named = (VARIABLE, BINDING_VARIABLE, BACKENDS_VARIABLE, "GGML_BACKEND_PATH")
    return any(environ.get(one) for one in named)


def settle(
    named: str | None,
    environ: Mapping[str, str],
    *,
    platform: str = sys.platform,
    accepted: AcceptedLibraries | None = None,
    folders: tuple[Path, ...] | None = None,
) -> Choice:
    """The library for the option's value. Raises `BadConfig` for a path that does not fit.

    accepted, folders: the memory of this machine, and the places of `auto`, unless given.
    """
    bindings = environ.get(BINDING_VARIABLE, "")
    if not named and not bindings:
        return Choice(library=None)
    known = accepted or accepted_libraries(environ, platform)
    if not named:
        return _bindings(known, bindings, platform)
    if named != AUTO:
        return Choice(library=_named(known, named, platform))
    if folders is None:
        multiarch = sysconfig.get_config_var("MULTIARCH") or ""
        folders = library_folders(environ, platform, multiarch=multiarch)
    return _auto(known, folders, platform)


def accepted_libraries(environ: Mapping[str, str], platform: str) -> AcceptedLibraries:
    """The memory of this user."""
    searched = [f"{one}={environ[one]}" for one in _SEARCH_VARIABLES if environ.get(one)]
    versions = (
        f"umad {__version__}",
        f"llama-cpp-python {_binding_version()}",
        f"Python {machine_facts.python_version()} on {machine_facts.machine()}",
    )
    return AcceptedLibraries(
        cache_folder(environ, platform) / _FILE,
        binding=", ".join([*versions, *searched]),
        ask=ask,
    )


def _binding_version() -> str:
    # Not at the top: it takes 10 ms of each start of the daemon, which mostly does not need it.
    from importlib import metadata  # noqa: PLC0415

    try:
        return metadata.version("llama-cpp-python")
    except metadata.PackageNotFoundError:
        return "none"


def _bindings(known: AcceptedLibraries, folder: str, platform: str) -> Choice:
    """The library that llama-cpp-python's variable puts in the place of its own. It would open that
    one itself, unchecked, and beside it the ggml inside its package.
    """
    try:
        return Choice(library=_named(known, folder, platform))
    except BadConfig as error:
        raise BadConfig(f"{BINDING_VARIABLE}: {error.message}", field=OPTION) from None


def _named(known: AcceptedLibraries, named: str, platform: str) -> AcceptedLibrary:
    return known.known(_file(Path(named).expanduser().absolute(), platform))


def _auto(known: AcceptedLibraries, folders: tuple[Path, ...], platform: str) -> Choice:
    refusals: list[str] = []
    seen: set[str] = set()
    for folder in folders:
        path = library_in(folder, platform, names=_names)
        # /usr/lib64 may be a link to /usr/lib.
        if path is None or os.path.realpath(path) in seen:
            continue
        seen.add(os.path.realpath(path))
        try:
            found = known.known(path)
        except BadConfig as error:
            log.info("auto passes on reason=%s", error.message)
            refusals.append(error.message.removeprefix(f"{OPTION} "))
        else:
            return Choice(library=found, line=f"{OPTION} {AUTO}: {found.words()}")
    why = "; ".join(refusals) or "no other is in the known places"
    return Choice(library=None, line=f"{OPTION} {AUTO}: {_OWN}, because {why}")


def _file(path: Path, platform: str) -> Path:
    """A folder means llama.cpp's library in it."""
    # Path.is_dir would raise where a folder above it may not be entered.
    inside = library_in(path, platform, names=_names) if os.path.isdir(path) else None
    return path if inside is None else inside


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
