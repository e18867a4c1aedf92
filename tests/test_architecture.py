"""Rules about the code itself that are cheap to look at; the layers are import-linter's."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from umad.engine.backend import BACKENDS

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "umad").rglob("*.py"))
# The house keeps a file under about 300 lines; past this it surely holds two ideas.
MAX_LINES = 400
# Packages whose docstring is no table of contents: bodies and dialects are tables themselves.
NOT_INDEXED = frozenset({"umad", "umad/gateway", "umad/nano", "umad/nano/train"})
INDEXED = sorted(
    name
    for path in SOURCES
    if path.name == "__init__.py"
    and (name := str(path.parent.relative_to(ROOT))) not in NOT_INDEXED
    and (not name.startswith("umad/gateway/") or name == "umad/gateway/dialects/openai")
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_module_opens_with_its_job_and_stays_readable(path: Path) -> None:
    text = path.read_text()

    assert ast.get_docstring(ast.parse(text)), "say what the module is for and what it is not"
    assert text.count("\n") <= MAX_LINES, "which two ideas live in it?"


def test_no_module_is_named_for_nothing_in_particular() -> None:
    vague = {"utils", "util", "helpers", "common", "misc"}

    assert not [name_of(path) for path in SOURCES if path.stem in vague]


@pytest.mark.parametrize("package", INDEXED)
def test_the_index_of_a_package_names_all_of_its_modules(package: str) -> None:
    folder = ROOT / package
    index = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    named = set(re.findall(r"\w+", index))

    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}

    assert modules <= named, "say in the package's docstring what they are for"


def test_every_package_and_module_has_its_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = contracts["contracts"][0]["layers"]
    placed = {name.strip().strip("()") for layer in layers for name in layer.split("|")}

    present = {path.relative_to(ROOT / "umad").parts[0].removesuffix(".py") for path in SOURCES}

    assert present - {"__init__"} <= placed


@pytest.mark.parametrize("module", BACKENDS.values())
def test_a_backend_is_imported_by_its_name_alone(module: str) -> None:
    """Where `umad.engine.wiring` opens it. Its own folder, if it has one, may know it."""
    folder, _, name = module.rpartition(".")
    own = ROOT / folder.replace(".", "/")

    importers = [
        name_of(path)
        for path in SOURCES
        if path.parent != own or folder == "umad.engine"
        for node in ast.walk(ast.parse(path.read_text()))
        if (
            isinstance(node, ast.ImportFrom)
            and (
                node.module == module
                or (node.module == folder and name in [one.name for one in node.names])
            )
        )
        or (isinstance(node, ast.Import) and module in [one.name for one in node.names])
    ]

    assert not importers


def test_what_make_installs_is_pinned_and_names_no_place() -> None:
    lines = [
        line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]

    assert all(line.count("==") == 1 and "/" not in line and "@" not in line for line in lines)
    assert {name.partition("==")[0] for name in lines} >= set(requirements())


def requirements() -> Iterator[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [one for group in project["optional-dependencies"].values() for one in group]
    for requirement in (*project["dependencies"], *extras):
        yield requirement.split(";")[0].strip().split(">=")[0].split("==")[0].lower()
