"""Looks at a library of llama.cpp, as an errand: the question is its path, the answer what it is.

The looks go from those that only read to those that compute, because a library that fails one of
them may end the process in the next:

    it is opened         all libraries that it needs are there
    its version          the declarations are of the same one
    its functions        all that umad calls are there
    its structs          each is laid out as declared (`library_layout`)
    its devices          ggml has one to compute on
    a small model        is opened and computes what it should (`library_trial`)

Before each the parent is told which one it is, so that it can name the one that ended the process.
A library that does not fit is a `BadConfig` with what was found and what is expected.
"""

import ctypes
import importlib
import re
import resource
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from umad import nano
from umad.engine.errand import Answering, answering
from umad.engine.library.accepted import AcceptedLibrary
from umad.engine.llamacpp import library_binding
from umad.engine.llamacpp.devices import devices_of
from umad.engine.llamacpp.library_defaults import LLAMA_VERSION
from umad.engine.llamacpp.library_layout import layout_faults
from umad.engine.llamacpp.library_symbols import missing
from umad.errors import BadConfig

# One line has room for so many.
_MOST_NAMED = 3


def look(path: Path, errand: Answering) -> AcceptedLibrary:
    """Look at everything. Raises `BadConfig`."""
    errand.news(doing="it was opened")
    library = library_binding.opened(path)
    version = checked_version(library)
    absent = missing(library)
    if absent:
        raise BadConfig(f"it lacks {_named(absent)}, which umad calls")
    errand.news(doing="its devices were loaded")
    binding = library_binding.bind(path)
    errand.news(doing="its structs were looked at")
    if faults := layout_faults(binding.llama, library):
        raise BadConfig(f"{_named(faults)} ({_expected()})")
    errand.news(doing="its devices were listed")
    devices = devices_of(binding.ggml)
    if not devices:
        raise BadConfig("it has no device to compute on; ggml's backends are not beside it")
    errand.news(doing="a small model computed with it")
    # It opens the library that this process is bound to, so it is imported only now.
    trial = importlib.import_module("umad.engine.llamacpp.library_trial")
    if fault := trial.trial_fault(nano.path()):
        raise BadConfig(fault)
    return AcceptedLibrary(
        path=path,
        version=version,
        ggml=_text(library, "ggml_version") or "of an unknown version",
        devices=tuple(one.name for one in devices),
        files=tuple(dict.fromkeys((path, *library_binding.loaded_files()))),
    )


def checked_version(library: ctypes.CDLL) -> str:
    """llama.cpp's own version. Before 1.0 a minor version may change what we call. Raises
    `BadConfig` for another one, in which both stand.
    """
    version = _text(library, "llama_version")
    if not version:
        if missing(library, ("llama_backend_init",)):
            raise BadConfig("it is no library of llama.cpp: it lacks llama_backend_init")
        raise BadConfig(f"it says no version, so it is older than the one expected ({_expected()})")
    if re.match(rf"{re.escape(LLAMA_VERSION)}(?!\d)", version) is None:
        raise BadConfig(f"it is llama.cpp {version}, and another one is expected ({_expected()})")
    return version


def _expected() -> str:
    return f"llama-cpp-python {metadata.version('llama-cpp-python')}, llama.cpp {LLAMA_VERSION}"


def _text(library: ctypes.CDLL, function: str) -> str:
    """The result of a function without arguments that returns a text; "" where there is none."""
    if missing(library, (function,)):
        return ""
    call = ctypes.CFUNCTYPE(ctypes.c_char_p)((function, library))
    return (call() or b"").decode("utf-8", "replace")


def _named(faults: Iterable[str]) -> str:
    every = list(faults)
    more = f" and {len(every) - _MOST_NAMED} more" if len(every) > _MOST_NAMED else ""
    return ", ".join(every[:_MOST_NAMED]) + more


def main() -> int:
    """Look, and tell."""
    # Its death is an answer, so no core file is needed.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with answering() as errand:
        errand.answer(look(Path(errand.question["library"]), errand).as_map())
    return 0


if __name__ == "__main__":
    sys.exit(main())
