"""Homebrew's formula is written from the template and a lock file, and Ruby can load it."""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from umad.version import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TEMPLATE = (ROOT / "homebrew" / "umad.rb.in").read_text()
SUM = "0123456789abcdef" * 4


def _generator() -> ModuleType:
    # `.ci` is no package, and its name is no module's.
    spec = importlib.util.spec_from_file_location("formula", ROOT / ".ci" / "formula.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["formula"] = module
    spec.loader.exec_module(module)
    return module


formula = _generator()


def package(name: str, *, marker: str | None = None, **sdist: Any) -> dict[str, Any]:
    source = {"url": f"https://files.example/{name}-1.0.tar.gz", "hashes": {"sha256": SUM}}
    found = {"name": name, "version": "1.0", "sdist": source | sdist}
    return found if marker is None else found | {"marker": marker}


LOCK = {
    "packages": [
        package("numpy"),
        package("click"),
        package("colorama", marker="sys_platform == 'win32'"),
        package("uvloop", marker="sys_platform != 'win32'"),
        package("appnope", marker="sys_platform == 'darwin'"),
        package("tomli", marker="python_full_version < '3.11'"),
        {"name": "umad", "directory": {"path": "."}},
    ]
}


@pytest.fixture
def sdist(tmp_path: Path) -> Path:
    path = tmp_path / f"umad-{__version__}.tar.gz"
    path.write_bytes(b"umad's own sources")
    return path


def written(sdist: Path, lock: dict[str, Any] = LOCK) -> str:
    return str(formula.formula(TEMPLATE, PROJECT, __version__, sdist, lock))


def test_each_package_that_homebrews_systems_need_is_a_resource_with_its_checksum(
    sdist: Path,
) -> None:
    text = written(sdist)

    names = [line.split('"')[1] for line in text.splitlines() if "resource " in line]
    assert names == ["appnope", "click", "numpy", "uvloop"]
    assert text.count(f'sha256 "{SUM}"') == 4
    assert text.index("on_macos do") < text.index('"appnope"')


def test_parts_stand_in_the_order_of_homebrews_style(sdist: Path) -> None:
    """One block of each system before all other resources, and the service behind the caveats."""
    extra = package("pyobjc", marker="sys_platform == 'darwin'")
    text = written(sdist, {"packages": [*LOCK["packages"], extra]})

    parts = ("on_macos do", 'resource "click"', "def install", "def post_install", "def caveats")
    places = [text.index(one) for one in (*parts, "service do", "test do")]
    assert places == sorted(places)
    assert text.count("on_macos do") == 1
    assert text.index('resource "pyobjc"') < text.index('resource "click"')


def test_umads_own_sources_are_named_by_version_and_checksum(sdist: Path) -> None:
    text = written(sdist)

    assert f"/releases/download/v{__version__}/umad-{__version__}.tar.gz" in text
    assert hashlib.sha256(b"umad's own sources").hexdigest() in text
    assert "@" not in text.replace("python@3", "")


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"packages": [{"name": "torch", "version": "1", "wheels": []}]}, "torch"),
        ({"packages": [package("click"), package("click")]}, "two versions of: click"),
        ({"packages": []}, "no packages"),
        ({"packages": [package("click", hashes={"sha256": "12"})]}, "checksum of click"),
        ({"packages": [package("click", url="http://files.example/c.tar.gz")]}, "address of click"),
        ({"packages": [package("click", url='https://x/"#{exit}')]}, "address of click"),
        ({"packages": [package('a" do')]}, "name"),
    ],
)
def test_what_would_make_a_broken_formula_is_an_error_with_its_name(
    sdist: Path, broken: dict[str, Any], says: str
) -> None:
    with pytest.raises(formula.Wrong, match=says):
        written(sdist, broken)


def test_an_sdist_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "umad-0.0.1.tar.gz"
    path.write_bytes(b"")

    with pytest.raises(formula.Wrong, match="not the sdist"):
        written(path)


def test_no_address_of_a_package_stands_in_the_template() -> None:
    assert "http" not in TEMPLATE.replace("--http", "")


def test_all_that_umad_needs_is_pinned_for_the_lock_file() -> None:
    assert "uv>=" in " ".join(PROJECT["optional-dependencies"]["release"])


def test_ruby_loads_it_and_it_says_what_homebrew_has_to_know(sdist: Path, tmp_path: Path) -> None:
    ruby = shutil.which("ruby")
    if ruby is None:
        pytest.skip("no Ruby here")
    path = tmp_path / "umad.rb"
    path.write_text(written(sdist))

    checked = subprocess.run(
        [ruby, "-wc", path], capture_output=True, text=True, timeout=60, check=False
    )
    loaded = subprocess.run(
        [ruby, ROOT / "homebrew" / "load_formula.rb", path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (checked.returncode, checked.stderr) == (0, "")
    assert (loaded.returncode, loaded.stderr) == (0, "")
    facts = json.loads(loaded.stdout)
    assert len(facts["desc"]) <= 80
    assert not facts["desc"].lower().startswith(("a ", "an ", "the ", "umad"))
    assert facts["license"] == {"all_of": ["MIT", "PSF-2.0"]}
    assert facts["resources"]["appnope"]["system"] == "macos"
    assert facts["resources"]["click"] == {
        "system": None,
        "url": "https://files.example/click-1.0.tar.gz",
        "sha256": SUM,
    }
    assert facts["service"]["run"][:2] == ["/opt/homebrew/opt/umad/bin/umad", "serve"]
    assert facts["service"]["keep_alive"] == {"successful_exit": False}
    assert facts["blocks"] == ["test", "virtualenv"]
    assert "umad service install" in facts["caveats"]
