"""umad from two wheels, in an empty environment, where there is no compiler: `make library-test`.

pip, uv and pipx install it, as docs/install.md says. umad's wheel is `make dist`'s, llama.cpp's
`make library-wheel`'s. $LIBRARY says of which kind that one is. `declarations` has no library, so
the one of this checkout's environment stands for a prebuilt one.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UMAD, LIBRARY = ROOT / "dist", ROOT / "build" / "library"
HAS_LIBRARY = os.environ.get("LIBRARY") != "declarations"
# What a machine without developer tools has.
COMPILERS = ("cc", "c++", "gcc", "g++", "clang", "clang++", "cmake", "ninja", "make")
# Where `make library-test` has installed uv and pipx.
TOOLS = ROOT / ".venv" / "library" / "bin"
PIN = ("--constraint", str(ROOT / "constraints.txt"))
# The first of them, whichever it is, waits for the installation.
pytestmark = pytest.mark.timeout(1300)


class Installed:
    """An environment with umad in it, and a PATH without compilers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "environment" / "bin"
        venv.create(folder / "environment", with_pip=True)
        self.environ = {
            "PATH": str(self.programs),
            # pip's own settings and cache.
            "HOME": os.environ["HOME"],
            # Whoever tries to compile fails here, and is not helped by a default.
            "CC": "/nonexistent/cc",
            "CXX": "/nonexistent/c++",
            "CMAKE": "/nonexistent/cmake",
            **{
                name: text
                for name, text in os.environ.items()
                if name.startswith(("PIP_", "SSL_", "UV_"))
            },
        }

    def umad(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """`umad WORDS`, with nothing of the user's but what is installed."""
        own = {"XDG_CACHE_HOME": str(self.folder / "cache"), "UMAD_CONFIG": os.devnull}
        return self.run("umad", *words, more=own | more)

    def run(
        self, *command: str | Path, timeout_s: float = 120, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        return subprocess.run(
            [str(self.programs / command[0]), *map(str, command[1:])],
            cwd=work,
            env={**self.environ, **(more or {})},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


def only(folder: Path) -> Path:
    found = list(folder.glob("*.whl"))
    assert len(found) == 1, f"run `make library-test`: {folder} has {len(found)} wheels"
    return found[0]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    made = Installed(tmp_path_factory.mktemp("installed"))
    ended = made.run(
        *("python", "-m", "pip", "install", "--quiet", "--only-binary=:all:"),
        *(*PIN, only(UMAD), only(LIBRARY)),
        timeout_s=1200,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return made


@pytest.fixture
def prebuilt(installed: Installed) -> dict[str, str]:
    """The variables with which umad finds a library: none where the wheel has one."""
    if HAS_LIBRARY:
        return {}
    spec = importlib.util.find_spec("llama_cpp")
    assert spec is not None
    assert spec.origin is not None
    return {"UMAD_LLAMA_LIBRARY": str(Path(spec.origin).parent / "lib")}


def test_there_is_no_compiler_where_it_was_installed(installed: Installed) -> None:
    assert not [one for one in COMPILERS if shutil.which(one, path=installed.environ["PATH"])]


def test_the_demo_runs(installed: Installed, prebuilt: dict[str, str]) -> None:
    ended = installed.umad("demo", "--seconds", "5", **prebuilt)

    assert ended.returncode == 0, ended.stderr
    assert "indexer" in ended.stdout


def test_the_doctor_finds_a_library_that_fits(
    installed: Installed, prebuilt: dict[str, str]
) -> None:
    ended = installed.umad("doctor", "--json", **prebuilt)

    assert '"its structs fit the library"' in ended.stdout


@pytest.mark.parametrize("tool", ["uv", "pipx"])
def test_the_tools_that_install_commands_need_no_compiler_either(
    installed: Installed, prebuilt: dict[str, str], tmp_path: Path, tool: str
) -> None:
    program = shutil.which(tool, path=f"{TOOLS}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip(f"{tool} is not installed")
    wheels, programs = tmp_path / "wheels", tmp_path / "bin"
    wheels.mkdir()
    for one in (only(UMAD), only(LIBRARY)):
        (wheels / one.name).symlink_to(one)
    found = ("--find-links", str(wheels))
    words = {
        "uv": ["tool", "install", *found, "--no-build-package", "llama-cpp-python", *PIN],
        "pipx": [
            "install",
            f"--pip-args={' '.join((*found, *PIN))} --only-binary llama-cpp-python",
        ],
    }[tool]
    places = {
        "UV_TOOL_DIR": "tools",
        "UV_TOOL_BIN_DIR": "bin",
        "UV_CACHE_DIR": "cache",
        "PIPX_HOME": "pipx",
        "PIPX_BIN_DIR": "bin",
        "PIPX_MAN_DIR": "man",
    }
    own = {name: str(tmp_path / folder) for name, folder in places.items()}

    ended = installed.run(
        program, *words, "--python", sys.executable, "umad", timeout_s=1200, more=own
    )

    assert ended.returncode == 0, ended.stderr[-4000:]
    looked = installed.run(
        programs / "umad", "doctor", "--json", more=prebuilt | {"UMAD_CONFIG": os.devnull}
    )
    assert '"its structs fit the library"' in looked.stdout


@pytest.mark.skipif(HAS_LIBRARY, reason="this wheel has a library")
def test_without_a_library_one_line_says_how_to_name_one(installed: Installed) -> None:
    ended = installed.umad("estimate", "nano")

    assert ended.returncode == 1
    assert "llama_library" in ended.stderr.splitlines()[-1]
