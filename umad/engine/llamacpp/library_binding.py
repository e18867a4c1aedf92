"""Binds llama-cpp-python's declarations to a library, once a process: its own, or another one.

llama-cpp-python opens the library inside its own package when it is imported. For another library
its module of declarations is imported alone, and is handed that library instead of one it opened
itself. Everything of llama.cpp and ggml is then looked up in that one library and in those that it
was linked with, so that no two copies of ggml are in a process.

mtmd, llama.cpp's library for images and sounds, is a file beside it, and is opened by the first
model that has a projector.

This is the only module that imports `llama_cpp`. Not: which library (`umad.engine.library`), or
whether it fits (`library_child`). Owner: the process, which keeps its library to its end.
"""

import contextlib
import ctypes
import importlib
import importlib.util
import logging
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from typing_extensions import override

from umad.engine.library.asking import OPTION
from umad.engine.library.backends import OPTION as BACKENDS
from umad.engine.library.backends import named_backends
from umad.engine.library.choice import VARIABLE, accepted_libraries, settle
from umad.engine.library.places import BINDING_VARIABLE
from umad.engine.llamacpp.devices import devices_of, names_of
from umad.errors import BadConfig

log = logging.getLogger("umad.engine")

_PACKAGE = "llama_cpp"
_OURS = re.compile(r"(lib)?(llama|ggml)\b.*")
# ggml's own variable: the file of one more backend, built for the same ggml.
BACKEND_VARIABLE = "GGML_BACKEND_PATH"
_MEDIA = "mtmd"
# llama-cpp-python opens the library of that path instead of its own.
_MEDIA_VARIABLE = "MTMD_CPP_LIB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What calls go through."""

    # The module of declarations, `llama_cpp.llama_cpp`.
    llama: Any
    # Where functions of ggml are found by name.
    ggml: Any
    # The library's file; None for the one inside llama-cpp-python.
    path: Path | None


_bound: list[Binding] = []
_media: list[Any] = []


def bound() -> Binding:
    """This process's library. The first call settles it: what `umad.engine.library.choice` left in
    the environment, and the backends that are named there. Raises `BadConfig` where one does not
    fit, or there is none.
    """
    if not _bound:
        library = settle(os.environ.get(VARIABLE), os.environ).library
        found = bind(None if library is None else library.path)
        if library is not None and not library.covers(loaded_files()):
            # ggml is another one than was looked at: a link leads elsewhere now, and the old file
            # is still there. Nothing was computed yet.
            _bound.clear()
            accepted_libraries(os.environ, sys.platform).anew(library.path)
            _bound.append(found)
        # Not before: a library is looked at without them, and its files are other ones.
        for file in named_backends(os.environ):
            load_backend(found.ggml, file, named_by=BACKENDS)
    return _bound[0]


def bind(path: Path | None) -> Binding:
    """Bind this process to a library, unchecked. Raises `BadConfig` where it cannot be opened."""
    if _bound:
        raise RuntimeError(f"this process computes with {_bound[0].path or 'its own'} already")
    _bound.append(_own() if path is None else _other(path))
    return _bound[0]


def bound_media() -> Any:
    """The declarations of mtmd, `llama_cpp.mtmd_cpp`, bound to the library beside llama.cpp's own.
    The first call opens it. Raises `BadConfig` where there is none, or it has another llama.cpp.
    """
    if not _media:
        _media.append(_bind_media(_file_beside(bound())))
    return _media[0]


def _file_beside(binding: Binding) -> Path:
    at = Path(binding.llama._lib._name)
    names = [f"lib{_MEDIA}{suffix}" for suffix in dict.fromkeys((at.suffix, ".so", ".dylib"))]
    for folder in dict.fromkeys((at.parent, Path(os.path.realpath(at)).parent)):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise BadConfig(f"there is no {names[0]} beside {at}, which images and sounds need")


def _bind_media(path: Path) -> Any:
    before = set(loaded_files())
    library = opened(path)
    if strange := sorted(set(loaded_files()) - before):
        raise BadConfig(f"{path} was linked with another llama.cpp: {strange[0]}", field=OPTION)
    os.environ.pop(_MEDIA_VARIABLE, None)
    extensions: Any = importlib.import_module(f"{_PACKAGE}._ctypes_extensions")
    usual = extensions.load_shared_library
    extensions.load_shared_library = lambda _name, _folder: library
    try:
        return importlib.import_module(f"{_PACKAGE}.mtmd_cpp")
    finally:
        extensions.load_shared_library = usual


def opened(path: Path) -> ctypes.CDLL:
    """The library, with nothing declared. Raises `BadConfig` in the system's own words."""
    try:
        return _Library(str(path))
    except OSError as error:
        raise BadConfig(f"the system cannot open it: {error}", field=OPTION) from None


def loaded_files() -> list[Path]:
    """The files of llama.cpp and ggml in this process. A change of any makes another library."""
    return [Path(one) for one in mapped_files() if _OURS.fullmatch(os.path.basename(one))]


def mapped_files() -> list[str]:
    """The files in this process's memory; on macOS its libraries."""
    return _of_linux() if sys.platform == "linux" else _of_macos()


def load_devices(library: Any) -> None:
    """Let ggml look for its devices, where they are files of their own (GGML_BACKEND_DL).

    ggml looks in the folder that it was built with, beside the program, and in the working folder.
    Nothing may be loaded from a user's working folder, so that is the library's own meanwhile.
    """
    count = library.ggml_backend_dev_count
    count.restype, count.argtypes = ctypes.c_size_t, []
    load_all = getattr(library, "ggml_backend_load_all", None)
    if count() or load_all is None:
        load_named_backend(library)
        return
    load_all.restype, load_all.argtypes = None, []
    with _in_folder(Path(os.path.realpath(library._name)).parent):
        load_all()


def load_named_backend(library: Any) -> None:
    """Load the backend that the environment names into a ggml whose others are inside it. (Where
    they are files, ggml does that itself.) One that finds no device is left out with a line in the
    log. Raises `BadConfig` where the file is no backend."""
    if named := os.environ.get(BACKEND_VARIABLE):
        load_backend(library, named, named_by=BACKEND_VARIABLE)


def load_backend(library: Any, path: str, *, named_by: str) -> None:
    """Load a backend. One that finds no device is left out with a line in the log. Raises
    `BadConfig` where the file is no backend.

    library: any that was linked with the ggml that computes. named_by: the option or variable.
    """
    load = library.ggml_backend_load
    load.restype, load.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    if load(os.fsencode(os.path.abspath(path))):
        return
    if why := _no_backend(path):
        raise BadConfig(
            f"{named_by} names {path}, and ggml cannot load it as a backend: {why}; the devices "
            f"without it are {names_of(devices_of(library))}",
            field=named_by,
        )
    log.warning(
        "%s names %s, which finds no device here or is of another llama.cpp; computing on the CPU",
        named_by,
        path,
    )


def _no_backend(path: str) -> str:
    """Why ggml would find no backend's beginning in the file; "" where it would."""
    if not os.path.exists(path):
        return "there is no such file"
    try:
        library = ctypes.CDLL(os.path.abspath(path))
    except OSError:
        return "it has to be built of the same llama.cpp"
    return "" if hasattr(library, "ggml_backend_init") else "it is another library"


class _Library(ctypes.CDLL):
    """A library in which a function that is missing is an error when it is called.

    The declarations name all functions of llama.h, and would not be imported without one of them.
    Those that umad calls were looked for before (`library_symbols`).
    """

    @override
    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith(("llama_", f"{_MEDIA}_")):
                return _Missing(name)
            raise


class _Missing:
    """Stands where a function is declared that the library does not have."""

    def __init__(self, name: str) -> None:
        self._missing = name

    def __call__(self, *_arguments: object) -> NoReturn:
        raise BadConfig(f"the library has no function {self._missing}", field=OPTION)


def _own() -> Binding:
    # The binding reads it, and what it names was passed over (`umad.engine.library.choice`).
    os.environ.pop(BINDING_VARIABLE, None)
    try:
        from llama_cpp import llama_cpp as lib
    except (ImportError, FileNotFoundError, RuntimeError) as error:
        raise BadConfig(
            f"llama-cpp-python has no library that can be opened ({error}): name another one with "
            f"{OPTION}",
            field=OPTION,
        ) from None
    # Not the binding's own `_ggml`: in a wheel, a link is a copy. libggml.so is then another file
    # than the libggml.so.0 that llama.cpp was linked with, and has backends of its own. What was
    # loaded into that one, llama.cpp would never see.
    load_named_backend(lib._lib)
    return Binding(llama=lib, ggml=lib._lib, path=None)


def _other(path: Path) -> Binding:
    library = opened(path)
    if _PACKAGE in sys.modules:
        raise RuntimeError(f"{_PACKAGE} is imported already, with the library inside it")
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        raise BadConfig("llama-cpp-python is not installed, and its declarations are needed")
    # The package as a folder only: what it would import itself opens the library inside it.
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
    extensions: Any = importlib.import_module(f"{_PACKAGE}._ctypes_extensions")
    extensions.load_shared_library = lambda _name, _folder: library
    declared = importlib.import_module(f"{_PACKAGE}.llama_cpp")
    load_devices(library)
    return Binding(llama=declared, ggml=library, path=path)


def _of_linux() -> list[str]:
    lines = Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines()
    # Address, permissions, offset, device, inode, path.
    columns = [line.split(maxsplit=5) for line in lines]
    named = (one[5] for one in columns if len(one) == 6 and one[5].startswith("/"))
    return list(dict.fromkeys(named))


def _of_macos() -> list[str]:
    """By dyld(3); it was not run."""
    dyld: Any = ctypes.CDLL(None)
    name = dyld._dyld_get_image_name
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.c_uint32]
    return [os.fsdecode(name(at) or b"") for at in range(dyld._dyld_image_count())]


@contextlib.contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    """Work in a folder, and go back by a descriptor: the one before may have no path any more."""
    # O_PATH, where it exists, also opens a folder that may not be read.
    how = getattr(os, "O_PATH", os.O_RDONLY)
    before = os.open(".", how | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(folder)
        yield
    finally:
        os.fchdir(before)
        os.close(before)
