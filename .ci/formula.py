"""Writes Homebrew's formula of this version from homebrew/umad.rb.in.

    formula.py LOCK SDIST > umad.rb

LOCK is a pylock.toml (PEP 751) of what umad needs, with the address and the checksum of each source
package; `make formula` has uv write it from pyproject.toml and constraints.txt, for every platform.
SDIST is umad's own. So no address and no checksum is written by hand, or kept in git.

Homebrew builds from source. A package that is published as wheels only is an error with its name.
Not: fetching or uploading anything.
"""

import hashlib
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import Marker

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "homebrew" / "umad.rb.in"
# The Python that the formula depends on; markers are read for it.
PYTHON = "3.13"
# What a marker may look at, on the two systems that Homebrew runs on.
_SYSTEMS: Mapping[str, Mapping[str, str]] = {
    "macos": {"sys_platform": "darwin", "platform_system": "Darwin"},
    "linux": {"sys_platform": "linux", "platform_system": "Linux"},
}
_HEX = re.compile(r"[0-9a-f]{64}")
# Ruby would read a program between #{ and }, and end the text at a quote.
_ADDRESS = re.compile(r"https://[A-Za-z0-9][A-Za-z0-9._~:/%+@-]*")
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class Wrong(Exception):
    """The formula cannot be written; one line says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One package that is installed beside umad."""

    name: str
    version: str
    url: str
    sha256: str
    # The systems that need it, of `_SYSTEMS`.
    systems: frozenset[str]


def resources(lock: Mapping[str, Any]) -> list[Resource]:
    """The packages of a lock file, by name; those that neither system needs are left out."""
    found, without = [], []
    for package in lock.get("packages", ()):
        name = package["name"]
        systems = _systems(package.get("marker"))
        if name == "umad" or not systems:
            continue
        sdist = package.get("sdist")
        if sdist is None or "url" not in sdist:
            without.append(name)
            continue
        found.append(
            Resource(
                name=_checked(_NAME, name, "name"),
                version=package["version"],
                url=_checked(_ADDRESS, sdist["url"], f"address of {name}"),
                sha256=_checked(_HEX, sdist["hashes"].get("sha256", ""), f"checksum of {name}"),
                systems=systems,
            )
        )
    if without:
        raise Wrong(f"no source package is published of: {', '.join(sorted(without))}")
    if not found:
        raise Wrong("the lock file has no packages")
    twice = {one.name for one in found if [each.name for each in found].count(one.name) > 1}
    if twice:
        raise Wrong(f"the lock file has two versions of: {', '.join(sorted(twice))}")
    return sorted(found, key=lambda one: one.name)


def formula(
    template: str, project: Mapping[str, Any], version: str, sdist: Path, lock: Mapping[str, Any]
) -> str:
    """The formula's text. project: the table of pyproject.toml."""
    home = project["urls"]["Source"].rstrip("/")
    words = {
        # Homebrew's style: no full sentence, and at most 80 characters.
        "DESC": project["description"].partition(":")[0].rstrip("."),
        "HOMEPAGE": _checked(_ADDRESS, project["urls"]["Homepage"], "homepage"),
        "URL": _checked(_ADDRESS, f"{home}/releases/download/v{version}/{sdist.name}", "address"),
        "SHA256": hashlib.sha256(sdist.read_bytes()).hexdigest(),
        "PYTHON": PYTHON,
        "RESOURCES": "\n".join(_blocks(resources(lock))),
    }
    if len(words["DESC"]) > 80 or '"' in words["DESC"] or "#" in words["DESC"]:
        raise Wrong("the description of pyproject.toml is too long, or has a quote in it")
    if sdist.name != f"umad-{version}.tar.gz":
        raise Wrong(f"{sdist.name} is not the sdist of version {version}: make dist")
    text = template
    for name, value in words.items():
        if f"@{name}@" not in text:
            raise Wrong(f"the template has no @{name}@")
        text = text.replace(f"@{name}@", value)
    head, _, rest = text.partition("class Umad")
    if "template" not in head:
        raise Wrong("the template has lost its head")
    return f"class Umad{rest}"


def _blocks(all_of_them: Sequence[Resource]) -> Iterator[str]:
    # Homebrew's style has one block of each system, before the resources of all.
    for system in _SYSTEMS:
        own = "\n".join(_block(one, "    ") for one in all_of_them if one.systems == {system})
        if own:
            yield f"  on_{system} do\n{own}  end\n"
    for one in all_of_them:
        if len(one.systems) == len(_SYSTEMS):
            yield _block(one, "  ")


def _block(one: Resource, space: str) -> str:
    lines = (
        f'resource "{one.name}" do',
        f'  url "{one.url}"',
        f'  sha256 "{one.sha256}"',
        "end",
    )
    return "".join(f"{space}{line}\n" for line in lines)


def _systems(marker: str | None) -> frozenset[str]:
    if marker is None:
        return frozenset(_SYSTEMS)
    read = Marker(marker)
    python = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.0", "os_name": "posix"}
    known = {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
    return frozenset(
        name for name, facts in _SYSTEMS.items() if read.evaluate({**python, **known, **facts})
    )


def _checked(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise Wrong(f"the {what} cannot stand in a formula: {text!r}")
    return text


def main() -> None:
    """The command line."""
    match sys.argv[1:]:
        case [lock, sdist]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            version = Path(sdist).name.removeprefix("umad-").removesuffix(".tar.gz")
            try:
                text = formula(
                    TEMPLATE.read_text(),
                    project,
                    version,
                    Path(sdist),
                    tomllib.loads(Path(lock).read_text()),
                )
            except Wrong as error:
                raise SystemExit(str(error)) from error
            sys.stdout.write(text)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
