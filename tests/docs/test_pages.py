"""The documentation names only what there is, and every link leads somewhere.

A name that is gone fails here: mend the page, or the name.
"""

import ast
import builtins
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Page, name_of, page
from tests.docs.sources import (
    BENCHMARK_NAMES,
    OPTION_GROUPS,
    OPTION_NAMES,
    PATHS,
    VARIABLES,
    bench_flags,
    command_tree,
    defined,
    flags,
    flags_of,
    importable,
    make_targets,
    written,
)

MOST_README_LINES = 200
_MODULE = re.compile(r"(?:umad|bench|tests)(?:\.\w+)+")
_FILE = re.compile(
    r"[\w.*-]*(?:/[\w.*-]+)*/?\.?[\w*-]+\.(?:py|md|yaml|yml|toml|txt|json|html|gguf)"
)
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?:\(.*\))?")
# Not `umad/0.1.0`, which is what a server calls itself.
_TOP = ("umad/", "docs/", "tests/", "bench/", "config/", "examples/", ".github/", ".ci/")
# Names that stand for one a reader puts in, and files a user has.
_PLACEHOLDERS = ("NAME", "FOLDER", "FILE", "…", "*")
_USERS_FILES = ("umad.yaml", "router.yaml", "models.yaml", "notes.txt", "keys.yaml", "summary.txt")
# Names of others that our code does not write.
_FOREIGN = {
    *dir(builtins),
    "Host",
    "SCM_RIGHTS",
    "set_data",
    "thread_time",
    "GOMP_SPINCOUNT",
    "OMP_WAIT_POLICY",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
    "CXXFLAGS",
    "CMAKE_ARGS",
}


def problem_of(span: str, page: Page) -> str | None:
    """What is wrong with a backticked span; None where nothing is, or it names nothing of ours."""
    word = span.split()[0]
    if word == "umad" or word == "make" or span.startswith("python -m bench"):
        return problem_of_command(span)
    if word.startswith("--"):
        flag = word.partition("=")[0]
        return None if flag in flags() | bench_flags() else f"no command has the flag {flag}"
    if span in _USERS_FILES:
        return None
    if span.startswith("UMAD_"):
        name = span.partition("=")[0]
        return (
            None if name in VARIABLES or name == "UMAD_" else f"no option has the variable {name}"
        )
    if _MODULE.fullmatch(span):
        return None if importable(span) else f"there is no module or name {span}"
    if re.fullmatch(r"/[\w./-]+", span):
        return None if any(one.startswith(span) for one in PATHS) else f"nothing serves {span}"
    if (span.startswith(_TOP) and not re.match(r"umad/\d", span)) or _FILE.fullmatch(span):
        return problem_of_file(span, page)
    if _IDENTIFIER.fullmatch(span):
        return problem_of_identifier(span.partition("(")[0])
    return None


def problem_of_file(span: str, page: Page) -> str | None:
    name = span.partition(" ")[0]
    if any(mark in name for mark in _PLACEHOLDERS):
        return None
    places = (ROOT, page.folder, ROOT / "umad" / "gateway", ROOT / ".github" / "workflows")
    return None if any((place / name).exists() for place in places) else f"there is no file {name}"


def problem_of_identifier(name: str) -> str | None:
    first = name.split(".")[0]
    if "." in name and first in OPTION_GROUPS and name not in OPTION_NAMES:
        rest = name.split(".")[1:]
        return None if all(one in written() for one in rest) else f"no option is called {name}"
    if name in OPTION_NAMES or name in _FOREIGN:
        return None
    parts = name.split(".")
    if parts[0][0].isupper() and not parts[0].isupper():
        return None if parts[0] in defined() else f"nothing is called {parts[0]}"
    missing = [one for one in parts if "_" in one.strip("_") and one not in written()]
    return f"nothing is called {missing[0]}" if missing else None


def problem_of_command(line: str) -> str | None:
    """A wrong command, benchmark, target or flag in a command line."""
    try:
        words = shlex.split(re.split(r"[;|&<>]", line.replace("…", "X"))[0])
    except ValueError:
        words = line.split()
    while words and "=" in words[0] and not words[0].startswith("-"):
        words = words[1:]
    match words:
        case ["make", *targets]:
            wanted = [one for one in targets if "=" not in one]
            unknown = [one for one in wanted if one not in make_targets()]
            return f"the Makefile has no target {unknown[0]}" if unknown else None
        case ["python", "-m", "bench", name, *rest] | ["umad", "bench", name, *rest]:
            if name not in BENCHMARK_NAMES | {"NAME"}:
                return f"there is no benchmark {name}"
            unknown = [one for one in rest if one.startswith("--") and one not in bench_flags()]
            return f"no benchmark has {unknown[0]}" if unknown else None
        case ["umad", *rest]:
            return problem_of_umad(rest)
        case _:
            return None


def problem_of_umad(words: list[str]) -> str | None:
    path: tuple[str, ...] = ()
    while words and (*path, words[0].partition("|")[0]) in command_tree():
        path, words = (*path, words[0].partition("|")[0]), words[1:]
    command = command_tree()[path]
    if hasattr(command, "commands") and words and not words[0].startswith("-"):
        return f"umad {' '.join(path)} has no command {words[0]}"
    given = flags_of(command)
    unknown = [one for one in words if one.startswith("--") and one.partition("=")[0] not in given]
    return f"umad {' '.join(path)} has no flag {unknown[0]}" if unknown else None


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_page_names_only_what_there_is(path: Path) -> None:
    this = page(path)

    problems = [
        f"`{span}`: {problem}" for span in this.spans() if (problem := problem_of(span, this))
    ]

    assert not problems, f"{this.path}: " + "; ".join(problems)


# `StepPlan` (`umad/step.py`): where a page says that a thing stands. A word may be between the two.
_STANDS_IN = re.compile(
    r"`([A-Za-z_]\w*)(?:\.(\w+))?`\s+(?:\w+\s+)?\(`((?:umad|bench|tests)/[\w/]+\.py)`"
)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_thing_stands_in_the_file_that_a_page_names(path: Path) -> None:
    places = _STANDS_IN.findall(page(path).prose)

    wrong = [
        f"{name} in {file}"
        for *names, file in places
        for name in filter(None, names)
        if name in defined()
        and not re.search(
            rf"^\s*(?:class |def |async def |type )?{name}\b",
            (ROOT / file).read_text(),
            re.MULTILINE,
        )
    ]

    assert not wrong


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_the_commands_of_a_page_can_be_typed(path: Path) -> None:
    this = page(path)

    problems = [
        f"$ {line}: {problem}" for line in this.commands() if (problem := problem_of_command(line))
    ]

    assert not problems, f"{this.path}: " + "; ".join(problems)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_link_of_a_page_leads_somewhere(path: Path) -> None:
    this = page(path)

    broken = [link for link in this.links() if not leads_somewhere(link, this)]

    assert not broken, f"{this.path}: {broken}"


def leads_somewhere(link: str, this: Page) -> bool:
    if re.match(r"[a-z]+:", link):
        return True
    name, _, anchor = link.partition("#")
    target = (this.folder / name).resolve() if name else ROOT / this.path
    if target.is_dir():
        return not anchor
    return target.is_file() and (not anchor or anchor in page(target).anchors())


def test_a_reader_reaches_every_page_from_the_readme() -> None:
    seen: set[Path] = set()
    left = [ROOT / "README.md"]
    while left:
        path = left.pop()
        if path in seen:
            continue
        seen.add(path)
        this = page(path)
        names = (link.partition("#")[0] for link in this.links() if not re.match("[a-z]+:", link))
        targets = ((this.folder / name).resolve() for name in names if name.endswith(".md"))
        left += [target for target in targets if target.is_file()]

    unreached = {path for path in PAGES if ".github" not in path.parts} - seen
    assert not {name_of(path) for path in unreached}


def test_the_readme_is_read_in_one_sitting() -> None:
    assert (ROOT / "README.md").read_text().count("\n") < MOST_README_LINES


def test_the_layout_names_every_package_and_module() -> None:
    layout = (ROOT / "docs" / "architecture.md").read_text().partition("## Layout")[2]
    layout = layout.partition("## Contracts")[0]

    present = {path.name for path in (ROOT / "umad").glob("*.py")}
    present |= {f"{path.parent.name}/" for path in (ROOT / "umad").glob("*/__init__.py")}

    assert not {name for name in present if name not in layout}


def test_every_decision_has_its_row_and_its_four_headings() -> None:
    folder = ROOT / "docs" / "decisions"
    rows = (folder / "README.md").read_text()
    pages = sorted(folder.glob("[0-9]*.md"))

    numbers = [int(path.name[:4]) for path in pages]
    assert numbers == list(range(1, len(pages) + 1))
    for path in pages:
        text = path.read_text()
        assert f"({path.name})" in rows, f"{path.name} has no row in docs/decisions/README.md"
        for heading in ("Context", "Measured", "Decision", "What would change our mind"):
            assert f"**{heading}.**" in text, f"{path.name} has no {heading}"


# -- docstrings ---------------------------------------------------------------------------------

SOURCES = sorted((ROOT / "umad").rglob("*.py"))


def docstrings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def is_ours(span: str) -> bool:
    """Whether a docstring's span can only name something of ours. Words are also those of others'
    libraries, which docstrings quote."""
    return bool(
        _MODULE.fullmatch(span)
        or span.startswith((*_TOP, "umad ", "make ", "python -m bench "))
        or re.fullmatch(r"UMAD_[A-Z_]+", span)
        or re.fullmatch(rf"(?:{'|'.join(sorted(OPTION_GROUPS))})\.[a-z_]+", span)
        or re.fullmatch(r"[A-Z][a-z]+(?:[A-Z]\w*)?(?:\.\w+)*", span)
    )


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_docstrings_name_only_what_there_is(path: Path) -> None:
    readme = page(ROOT / "README.md")
    spans = [
        span
        for docstring in docstrings(path)
        for span in re.findall(r"(?<![`\w])`([^`\n]+)`(?!`)", docstring)
    ]

    problems = [
        f"`{span}`: {problem}"
        for span in spans
        if is_ours(span) and (problem := problem_of(span, readme))
    ]

    assert not problems, "; ".join(problems)


# -- the test itself -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "span",
    [
        "umad/scheduler/gone.py",
        "umad.scheduler.gone",
        "umad.request.Gone",
        "GoneClass",
        "GoneClass.method",
        "limits.gone_s",
        "gone_option_of_ours",
        "UMAD_GONE",
        "--gone-flag",
        "umad gone",
        "umad run --gone",
        "umad config gone",
        "make gone",
        "python -m bench gone",
        "/v1/gone",
    ],
)
def test_what_is_gone_is_found(span: str) -> None:
    assert problem_of(span, page(ROOT / "README.md"))
