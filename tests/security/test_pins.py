"""What is installed is what was looked at: one exact version of every package, of theirs too."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
# A virtual environment's own, and umad.
UNPINNED = {"pip", "setuptools", "wheel", "umad"}
_PIN = re.compile(r"([a-z0-9]+(?:-[a-z0-9]+)*)==([0-9][^\s;]*)")


def pins() -> dict[str, str]:
    """Versions by canonical name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [_PIN.fullmatch(line) for line in lines if line and not line.startswith("#")]
    assert all(found), "a line of constraints.txt is not NAME==VERSION"
    return {match[1]: match[2] for match in found if match}


def installed() -> dict[str, str]:
    return {
        canonicalize_name(one.metadata["Name"]): one.version
        for one in importlib.metadata.distributions()
    }


def test_everything_that_is_installed_is_pinned_to_the_version_that_is_installed() -> None:
    pinned = pins()

    drifting = {
        name: (version, pinned.get(name))
        for name, version in installed().items()
        if name not in UNPINNED and pinned.get(name) != version
    }

    assert drifting == {}


def test_everything_that_any_extra_asks_for_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    asked = [Requirement(line) for lines in lists for line in lines]
    pinned = pins()

    wrong = {
        one.name: pinned.get(canonicalize_name(one.name))
        for one in asked
        if (version := pinned.get(canonicalize_name(one.name))) is None
        or not one.specifier.contains(version, prereleases=True)
    }

    assert wrong == {}


def test_what_the_pinned_packages_ask_for_is_pinned_too() -> None:
    pinned = pins()
    missing = set()
    for name in installed().keys() - UNPINNED:
        for line in importlib.metadata.requires(name) or []:
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate({"extra": ""}):
                missing |= {canonicalize_name(one.name)} - pinned.keys() - UNPINNED

    assert missing == set()


def test_make_installs_nothing_without_a_version() -> None:
    """Neither by the constraints nor by a version of its own."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    installs = re.findall(r"-m pip install ([^\n|]*)", makefile)
    installs += re.findall(r"npm install ([^\n|]*)", makefile)

    assert installs
    for line in installs:
        named = [
            word.strip("'\"")
            for word in line.split()
            if re.fullmatch(r"['\"]?@?[a-z][\w./-]*(\[[\w,]+\])?([=@<>]+[^\s]*)?['\"]?", word)
            and word.strip("'\"") != "constraints.txt"
        ]
        loose = [word for word in named if not re.search(r"==\d|.@\d", word)]
        assert "-c constraints.txt" in line or loose == [], line
