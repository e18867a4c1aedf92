"""What is released, as a stranger has it: `make dist` first, then `make dist-test` runs this.

The wheel goes into an empty environment and is used from an empty folder. The sdist is unpacked
where there is no git, and its own Makefile builds and tests it. $DIST_TESTS narrows which tests
that runs; unset, it is all of `make test`.
"""

import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"
CONSTRAINTS = ROOT / "constraints.txt"
# A user's program, ten lines: what a type checker says of it is what it says of umad's types.
PROGRAM = """
from umad import Client, ModelRow, UmadError

def name_of(model: ModelRow) -> str:
    return model.name

with Client() as client:
    try:
        print([name_of(one) for one in client.models()], client.chat("Hello").text)
    except UmadError as error:
        print(error.code, error.retryable)
"""
WRONG = """
from umad import Client

Client().chat("Hello", temperture=0.5)
"""


def run(
    *command: str | Path, cwd: Path, timeout_s: float = 600, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    clean |= {name: v for name, v in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
    ended = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean | (env or {}),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert ended.returncode == 0, f"{command}: {ended.stdout[-4000:]}{ended.stderr[-4000:]}"
    return ended


def only(pattern: str) -> Path:
    found = list(DIST.glob(pattern))
    assert len(found) == 1, f"run `make dist` first: dist/ has {len(found)} of {pattern}"
    return found[0]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that has the wheel, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=True)
    programs = folder / "bin"
    pip = (programs / "python", "-m", "pip", "install", "--quiet", "-c", CONSTRAINTS)
    run(*pip, only("*.whl"), cwd=folder, timeout_s=1800)
    return programs


@pytest.mark.timeout(1900)
def test_the_demo_runs_from_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    ended = run(installed / "umad", "demo", "--seconds", "5", cwd=tmp_path, timeout_s=120)

    assert "indexer" in ended.stdout
    assert not list(tmp_path.iterdir()), "the demo leaves nothing where it was started"


@pytest.mark.timeout(1900)
def test_it_is_the_wheel_that_runs_and_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import umad; print(umad.__file__)", cwd=tmp_path)
    version = run(installed / "umad", "--version", cwd=tmp_path)
    example = run(installed / "umad", "config", "example", cwd=tmp_path)

    assert Path(where.stdout.strip()).is_relative_to(installed.parent)
    assert version.stdout.split()[-1] in only("*.whl").name
    assert example.stdout == (ROOT / "config" / "umad.yaml").read_text()


@pytest.mark.timeout(1900)
def test_a_users_program_type_checks_against_the_wheel(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    python = installed / "python"
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", python)

    good = run(*mypy, "program.py", cwd=tmp_path)

    assert good.stdout.startswith("Success")


@pytest.mark.timeout(1900)
def test_a_misspelt_keyword_is_found_by_the_type_checker(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    python = installed / "python"
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python))

    bad = subprocess.run(
        [*mypy, "wrong.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )

    assert bad.returncode == 1
    assert "temperture" in bad.stdout


@pytest.mark.timeout(7300)
def test_the_sdist_builds_and_passes_its_own_tests(tmp_path: Path) -> None:
    with tarfile.open(only("*.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    assert (folder / "examples").is_dir()
    assert (folder / "docs").is_dir()
    narrowed = os.environ.get("DIST_TESTS", "")

    run("make", f"PYTHON={sys.executable}", "install", cwd=folder, timeout_s=1800)
    if narrowed:
        run("make", "lint", "types", "layers", cwd=folder, timeout_s=1200)
        python = str(folder / ".venv" / "bin" / "python")
        run(python, "-m", "pytest", "-q", *narrowed.split(), cwd=folder, timeout_s=3600)
    else:
        run("make", "test", cwd=folder, timeout_s=7200)
    run("make", "dist", cwd=folder, timeout_s=600)
