"""Says what keeps a tag from being released, or prints its section of the changelog.

    release.py check vX.Y.Z      release.py notes

The version is umad/version.py's. Not: building or uploading.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def version() -> str:
    """The version of the sources."""
    text = (ROOT / "umad" / "version.py").read_text()
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise SystemExit("umad/version.py has no line __version__ = …")
    return found[1]


def notes() -> str:
    """The changelog's section of this version, without its heading; empty where there is none."""
    text = (ROOT / "CHANGELOG.md").read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    mine = [one for one in sections if one.startswith(f"[{version()}] - ")]
    return mine[0].partition("\n")[2].strip() if mine else ""


def problems(tag: str) -> list[str]:
    """Everything that keeps `tag` from being released."""
    found = []
    if tag != f"v{version()}":
        found.append(f"the tag is {tag or 'missing'}, the version is {version()}: umad/version.py")
    if not notes():
        found.append(f"CHANGELOG.md has no section [{version()}] with a date")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    if any("umad.example" in url for url in project["urls"].values()):
        found.append("[project.urls] in pyproject.toml are examples: name the project's home")
    return found


def main() -> None:
    """The command line."""
    match sys.argv[1:]:
        case ["notes"]:
            sys.stdout.write(notes() + "\n")
        case ["check", tag]:
            if found := problems(tag):
                raise SystemExit("\n".join(found))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
