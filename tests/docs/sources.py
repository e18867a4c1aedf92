"""The names that there are: in the Python sources, the command line, the options, the Makefile."""

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module

import click

from bench.__main__ import BENCHMARKS
from tests.docs.pages import ROOT
from umad.cli.app import umad
from umad.configuration.options import OPTIONS
from umad.configuration.sources import OTHER_VARIABLES
from umad.gateway.dialects import ENDPOINTS

FOLDERS = ("umad", "bench", "tests", "examples")
OPTION_NAMES = {name for o in OPTIONS for name in (o.name, o.alias) if name is not None}
OPTION_GROUPS = {name.partition(".")[0] for name in OPTION_NAMES if "." in name}
VARIABLES = {name for o in OPTIONS for name in o.variables} | set(OTHER_VARIABLES)
# What is served beside the endpoints, which describe themselves there.
PATHS = {one.path.replace("{name:path}", "") for one in ENDPOINTS} | {"/docs", "/openapi.json"}


@cache
def _code() -> str:
    """All Python sources without docstrings and comments, in which a name may outlive its thing."""
    here = ROOT / "tests" / "docs"
    paths = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))
    text = "\n".join(path.read_text() for path in paths if here not in path.parents)
    return re.sub(
        r"(?:^|\s)#.*$", "", re.sub(r'""".*?"""', '""', text, flags=re.DOTALL), flags=re.MULTILINE
    )


@cache
def defined() -> frozenset[str]:
    """Classes, functions, and names that something is assigned to or imported as."""
    classes = re.findall(r"^\s*(?:class|def|async def|type)\s+(\w+)", _code(), re.MULTILINE)
    assigned = re.findall(r"^\s*([A-Za-z_]\w*)\s*(?::[^=\n]+)?=[^=]", _code(), re.MULTILINE)
    imports = re.findall(r"^\s*(?:from \S+ )?import (\([^)]*\)|.+)$", _code(), re.MULTILINE)
    imported = re.findall(r"\w+", " ".join(imports))
    return frozenset((*classes, *assigned, *imported))


@cache
def written() -> frozenset[str]:
    """Every word of the code."""
    return frozenset(re.findall(r"[A-Za-z_]\w*", _code()))


def importable(dotted: str) -> bool:
    """Whether `a.b.c` is a module, or a name in one."""
    names = dotted.split(".")
    for n in range(len(names), 0, -1):
        place = ROOT.joinpath(*names[:n])
        if not (place.is_dir() or place.with_suffix(".py").is_file()):
            continue
        if n == len(names):
            return True
        found: object = import_module(".".join(names[:n]))
        for name in names[n:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


@cache
def make_targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands(
    command: click.Command = umad, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command of the tree with its path below `umad`."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, (*path, name))


@cache
def command_tree() -> dict[tuple[str, ...], click.Command]:
    return dict(commands())


def flags_of(command: click.Command) -> set[str]:
    given = {"--help", "-h", "--version", "-V"}
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            given.update((*parameter.opts, *parameter.secondary_opts))
    return given


@cache
def flags() -> frozenset[str]:
    """Flags of any command of `umad`."""
    return frozenset(flag for command in command_tree().values() for flag in flags_of(command))


@cache
def bench_flags() -> frozenset[str]:
    """Flags of the benchmarks: the texts their parsers are made of."""
    found: set[str] = set()
    for path in (ROOT / "bench").glob("*.py"):
        found.update(re.findall(r'"(--[a-z-]+)"', path.read_text()))
    return frozenset(found)


BENCHMARK_NAMES = frozenset(BENCHMARKS)
