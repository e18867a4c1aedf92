"""How the Vulkan backend is built for `make vulkan-test`, which builds and tries it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
DEBIAN_12 = "#define VK_HEADER_VERSION_COMPLETE VK_MAKE_API_VERSION(0, 1, 3, VK_HEADER_VERSION)"
DEBIAN_13 = "#define VK_HEADER_VERSION_COMPLETE VK_MAKE_API_VERSION(0, 1, 4, VK_HEADER_VERSION)"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vulkan", ROOT / ".ci/vulkan_library.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_headers_that_are_too_old_are_known(script: ModuleType) -> None:
    assert script.header_version(DEBIAN_12) < script.LEAST_HEADERS
    assert script.header_version(DEBIAN_13) >= script.LEAST_HEADERS
    assert script.header_version("no header") < script.LEAST_HEADERS


def test_what_is_missing_is_named_by_the_packages_that_have_it(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "cmake"
    tool.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert script.lacking(tmp_path) == ["g++", "glslc"]
    assert script.lacking(None) == ["g++", "glslc", "libvulkan1 mesa-vulkan-drivers"]


def test_links_between_libraries_stay_links(script: ModuleType, tmp_path: Path) -> None:
    made, whole, alone = tmp_path / "made", tmp_path / "whole", tmp_path / "alone"
    made.mkdir()
    for name in ("libggml-base.so.0.25.3", "libggml-vulkan.so", "notes.txt"):
        (made / name).touch()
    (made / "libggml-base.so.0").symlink_to("libggml-base.so.0.25.3")

    script.take(made, whole, "*")
    script.take(made, alone, "ggml-vulkan")

    assert (whole / "libggml-base.so.0").readlink() == Path("libggml-base.so.0.25.3")
    assert len(list(whole.iterdir())) == 3
    assert [one.name for one in alone.iterdir()] == ["libggml-vulkan.so"]
