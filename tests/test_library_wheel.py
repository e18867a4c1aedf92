"""How llama.cpp's wheels are built. `make library-test` builds one and installs it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("library_wheel", ROOT / ".ci/library_wheel.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_workflow_builds_every_kind_for_the_systems_that_the_page_names(
    script: ModuleType,
) -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/library.yml").read_text())
    rows = workflow["jobs"]["wheel"]["strategy"]["matrix"]["include"]
    page = (ROOT / "docs/install.md").read_text()

    assert {row["library"] for row in rows} == set(script.FLAGS)
    assert {(row["library"], row["name"].partition("-")[0]) for row in rows} == {
        ("metal", "macos"),
        ("cpu", "linux"),
        ("vulkan", "linux"),
        ("declarations", "any"),
    }
    assert len([row for row in rows if row["library"] == "cpu"]) == 2, "x86-64 and arm64"
    for kind in script.FLAGS:
        assert f"| `{kind}` |" in page


@pytest.mark.parametrize("kind", ["cpu", "metal", "vulkan"])
def test_a_wheel_for_others_is_not_compiled_for_this_processor(
    script: ModuleType, kind: str
) -> None:
    assert "-DGGML_NATIVE=OFF" in script.cmake_flags(kind, system="Linux", machine="x86_64")


def test_arm_on_linux_has_the_instructions_that_decoding_needs(script: ModuleType) -> None:
    def names_them(system: str, machine: str) -> bool:
        flags = script.cmake_flags("cpu", system=system, machine=machine)
        return any("dotprod" in one for one in flags)

    assert names_them("Linux", "aarch64")
    assert not names_them("Linux", "x86_64")
    assert not names_them("Darwin", "arm64"), "Apple's compiler knows its own processors"


def test_it_is_built_anew_and_of_the_version_that_is_pinned(
    script: ModuleType, tmp_path: Path
) -> None:
    anew = script.pip_command(tmp_path, is_cached=False)
    kept = script.pip_command(tmp_path, is_cached=True)

    assert {"--no-cache-dir", "--no-binary=llama-cpp-python"} <= set(anew)
    assert not {"--no-cache-dir", "--no-binary=llama-cpp-python"} & set(kept)
    assert f"--constraint={ROOT / 'constraints.txt'}" in anew
