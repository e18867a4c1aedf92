"""A folder full of files named like the modules a program imports. Not a test.

Each writes down that it ran, and by which command line, and ends its process.
"""

import importlib.metadata
import sys
from pathlib import Path

_FILE = """\
import posix
fd = posix.open({log!r}, posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT, 0o600)
posix.write(fd, (__name__ + " in " + " ".join(__import__("sys").orig_argv[:6]) + chr(10)).encode())
posix._exit(66)
"""


class HostileFolder:
    """names: what is planted. `ran`: a line for each file that was executed."""

    def __init__(self, folder: Path, names: frozenset[str]) -> None:
        self.path = folder
        self._log = folder.parent / "ran"
        folder.mkdir()
        text = _FILE.format(log=str(self._log))
        for name in names:
            (folder / f"{name}.py").write_text(text)

    @property
    def ran(self) -> list[str]:
        """The files that were executed, by whom."""
        return self._log.read_text().splitlines() if self._log.exists() else []


def every_module() -> frozenset[str]:
    """Everything at the top that may be imported here: the library, all packages, Python's hooks
    and umad's own packages and programs."""
    found = set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions())
    found |= {"sitecustomize", "usercustomize", "umad", "bench", "tests"}
    return frozenset(name for name in found if name.isidentifier() and name != "__main__")


def modules_python_needs_for_dash_m() -> frozenset[str]:
    """What Python itself imports to find `umad.__main__`, from the working folder if it is there:
    no program has a say in that."""
    return frozenset({"umad", "sitecustomize", "usercustomize"}) | _imported_by_runpy()


def _imported_by_runpy() -> frozenset[str]:
    import subprocess  # noqa: PLC0415

    program = "import sys, runpy, pkgutil; print(*{one.partition('.')[0] for one in sys.modules})"
    said = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, check=True, text=True
    )
    return frozenset(said.stdout.split())
