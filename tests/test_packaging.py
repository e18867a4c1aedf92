"""What is packed into sdist and wheel. `make dist-test` installs and uses them."""

import email
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from umad.version import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=110)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Iterator[zipfile.ZipFile]:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_has_all_that_runs(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())

    for path in (ROOT / "umad").rglob("*.py"):
        assert str(path.relative_to(ROOT)) in names
    for data in (
        "umad/py.typed",
        "umad/nano/nano.gguf",
        "umad/nano/MODEL_CARD.md",
        "umad/models/models.yaml",
        *(str(one.relative_to(ROOT)) for one in (ROOT / "umad/gateway/page").rglob("*.*")),
    ):
        assert data in names
    # Where an installer puts it beside the folder of programs.
    assert any(name.endswith(".data/data/share/man/man1/umad.1") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "bench/", "examples/"))]


def test_the_wheel_tells_its_version_its_types_and_where_to_read_on(
    wheel: zipfile.ZipFile,
) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    facts = email.message_from_bytes(wheel.read(name))

    assert facts["Version"] == __version__
    classifiers = facts.get_all("Classifier") or []
    assert "Typing :: Typed" in classifiers
    urls = {url.partition(",")[0] for url in facts.get_all("Project-URL") or []}
    assert urls == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
    assert facts["License-Expression"] == "MIT AND PSF-2.0"


def test_the_sdist_has_all_that_git_keeps_and_nothing_that_it_ignores(built: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("an unpacked sdist has no git to ask")
    (path,) = built.glob("*.tar.gz")

    with tarfile.open(path) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}

    kept = {name for name in git_files() if (ROOT / name).exists()}
    ignored = packed - {"PKG-INFO"} - git_files("--cached", "--others", "--exclude-standard")
    assert kept <= packed, "a rule in .gitignore keeps a file out that git keeps"
    assert not ignored, "hatchling reads the .gitignore of the root only"


def git_files(*which: str) -> set[str]:
    """Their paths; of those that git keeps unless `which` says otherwise."""
    command = ["git", "-c", "core.quotePath=off", "ls-files", *which]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return set(told.stdout.splitlines())


def test_the_packed_files_run_by_themselves(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()

    ended = subprocess.run(
        [sys.executable, "-m", "umad", "demo", "--seconds", "1"],
        cwd=tmp_path / "empty",
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert "indexer" in ended.stdout


def test_the_changelog_has_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)

    assert versions
    assert versions[0] == __version__, "umad/version.py and CHANGELOG.md tell two versions"


def release(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / ".ci" / "release.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_tag_that_is_not_the_version_is_refused() -> None:
    ended = release("check", "v9.9.9")

    assert ended.returncode == 1
    assert f"the version is {__version__}" in ended.stderr


def test_the_notes_of_a_release_are_its_section_of_the_changelog() -> None:
    notes = release("notes").stdout

    assert "The first version." in notes or __version__ != "0.2.0"
    assert notes.strip()
    assert "\n## " not in notes


def test_every_python_that_is_promised_is_tested_in_ci() -> None:
    promised = {
        one.rpartition(" ")[2]
        for one in PROJECT["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", one)
    }
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text()

    assert promised == set(re.findall(r'"(3\.\d+)"', workflow))


def test_no_file_of_the_release_path_names_a_registry() -> None:
    paths = [ROOT / "pyproject.toml", ROOT / "Makefile", ROOT / "constraints.txt"]
    paths += [*(ROOT / ".github").rglob("*.yml"), *(ROOT / "docs").rglob("*.md")]
    hosts = re.compile(
        r"\b(?:pypi|pythonhosted|npmjs|registry\.[a-z]+|docker|ghcr)\.(?:org|com|io)\b"
    )

    assert not [path.name for path in paths if hosts.search(path.read_text())]
