"""Starts Python processes that import nothing from the user's working folder.

`python -m MODULE` searches the working folder first, so a file `msgpack.py` in somebody's downloads
would run as a part of umad. Every process that umad starts uses the command line made here, and the
process the user starts calls `leave_working_folder` before anything else.

    python -I …/umad/isolated.py [FOLDERS as JSON] MODULE [ARGUMENT]…

`-I` makes Python ignore the working folder and the PYTHON* variables. FOLDERS are the folders its
parent imports from, so that umad is found wherever the parent found it (PYTHONPATH, `pip install
--user`).

Not: the list of processes, nor their environment except the variables that load libraries. This
file runs before the working folder is left, so at its top it imports only what Python has already
loaded.
"""

import os
import sys

# The folder in which `import umad` was found. It is trusted, because this code came from it.
_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# ld.so(8) describes the first one; an empty item in it is the working folder. dyld(1) describes the
# others.
LIBRARY_VARIABLES = (
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "DYLD_FRAMEWORK_PATH",
    "DYLD_FALLBACK_FRAMEWORK_PATH",
)


def python_module(module: str, *arguments: str) -> list[str]:
    """The command line of a process that runs `module` as `python -m` would, isolated."""
    import json  # noqa: PLC0415  # not before the working folder is left

    flags = ["-I", "-B"] if sys.dont_write_bytecode else ["-I"]
    folders = json.dumps(import_folders())
    return [sys.executable, *flags, os.path.abspath(__file__), folders, module, *arguments]


def leave_working_folder() -> None:
    """Import nothing from the working folder any more, and let no child load libraries from it."""
    sys.path[:] = import_folders()
    for name in LIBRARY_VARIABLES:
        if name in os.environ:
            os.environ[name] = absolute_folders(os.environ[name])


def import_folders() -> list[str]:
    """`sys.path` without the working folder and without folders named relative to it."""
    distrusted = _working_folders(os.environ.get("PYTHONPATH", ""))
    return [
        one
        for one in sys.path
        if os.path.isabs(one) and (_same(one) == _same(_HOME) or _same(one) not in distrusted)
    ]


def absolute_folders(listed: str) -> str:
    """Only the absolute folders of a list written as in PATH."""
    return os.pathsep.join(filter(os.path.isabs, listed.split(os.pathsep)))


def _working_folders(python_path: str) -> set[str]:
    """The working folder, and the folders that PYTHONPATH names relative to it; Python makes those
    absolute.
    """
    try:
        working = os.getcwd()
    except OSError:  # it was removed
        return set()
    items = python_path.split(os.pathsep)
    return {_same(os.path.join(working, one)) for one in items if not os.path.isabs(one)} | {
        _same(working)
    }


def _same(folder: str) -> str:
    """One spelling of a folder, with all links resolved."""
    return os.path.realpath(folder)


def _run(folders: str, module: str) -> None:
    import json  # noqa: PLC0415
    import runpy  # noqa: PLC0415

    parents = json.loads(folders)
    sys.path[:] = parents + [one for one in sys.path if one not in parents]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _, _folders, _module, *_rest = sys.argv
    sys.argv[:] = [_module, *_rest]
    _run(_folders, _module)
