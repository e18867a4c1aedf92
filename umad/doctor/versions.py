"""Checks the versions of Python and of the packages that umad needs, by its own list of them."""

import importlib.metadata
import platform
import re
import sys
from collections.abc import Iterator

from umad.doctor.finding import Finding, good, note, wrong
from umad.doctor.surroundings import Surroundings
from umad.version import __version__

CHECK = "versions"
# The oldest Python that pyproject.toml names.
LEAST_PYTHON = (3, 11)
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)\s*>=\s*(?P<least>[0-9.]+)\s*(?P<rest>;.*)?")


def check(around: Surroundings) -> list[Finding]:
    """Look at Python, and at every package that `pip install umad` brings."""
    found = []
    if sys.version_info < LEAST_PYTHON:
        found.append(
            wrong(
                CHECK,
                f"Python {platform.python_version()} is too old",
                mend="install Python 3.11 or newer, and umad with it",
            )
        )
    try:
        required = importlib.metadata.requires("umad") or []
    except importlib.metadata.PackageNotFoundError:
        return [*found, note(CHECK, f"umad {__version__} runs from a folder, not as a package")]
    found += _faults(required)
    if not found:
        found.append(
            good(
                CHECK,
                f"umad {__version__}, Python {platform.python_version()}, "
                f"{len(list(_own(required)))} packages as needed",
            )
        )
    return found


def _faults(required: list[str]) -> Iterator[Finding]:
    for name, least in _own(required):
        try:
            has = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield wrong(CHECK, f"{name} is not installed", mend=f"pip install '{name}>={least}'")
            continue
        if _numbers(has) < _numbers(least):
            yield wrong(
                CHECK,
                f"{name} {has} is older than {least}",
                mend=f"pip install --upgrade '{name}>={least}'",
            )


def _own(required: list[str]) -> Iterator[tuple[str, str]]:
    """(package, oldest version) of every requirement that is not an extra's."""
    for one in required:
        found = _REQUIREMENT.match(one)
        if found is not None and "extra" not in (found["rest"] or ""):
            yield found["name"], found["least"]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])
