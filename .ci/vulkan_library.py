"""Builds llama.cpp's Vulkan backend, to try umad on it where there is no GPU.

    vulkan_library.py FOLDER [--whole]

FOLDER gets the backend as a module (GGML_BACKEND_DL), of the very source that the pinned
llama-cpp-python has inside, so that it can be loaded into that library. --whole: it gets libllama,
libmtmd and all of ggml as well, in the way in which Homebrew and distributions build them. The
backend takes 15 minutes on two cores, nearly all of it shaders, and the rest ten more.

Needed: a C++ compiler, cmake, glslc, libvulkan.so.1, and the headers of Vulkan 1.4 and of SPIR-V.
Debian 12's headers are older. Then those of Debian 13 are fetched from the same mirror and unpacked
into the build's folder; nothing of them is installed, and no root is needed.

LLAMA_CPP_SOURCE names llama.cpp's source where it is there already. Not: a library for others, with
the processor's kernels chosen for their machines (`library_wheel`).
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "llama-cpp-python"
TARGETS = ("ggml-vulkan",)
WHOLE = ("ggml-cpu", "llama", "mtmd")
FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    "-DGGML_BACKEND_DL=ON",
    "-DGGML_NATIVE=OFF",
    "-DGGML_VULKAN=ON",
    "-DLLAMA_BUILD_COMMON=OFF",
    "-DLLAMA_BUILD_TOOLS=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_MTMD=ON",
    "-DLLAMA_OPENSSL=OFF",
    # The parts find each other wherever the folder is.
    "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON",
    "-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON",
    "-DCMAKE_INSTALL_RPATH=$ORIGIN",
)
# ggml-vulkan.cpp names types that Vulkan 1.3's headers do not have.
LEAST_HEADERS = (1, 4)
_PACKAGES = {
    "c++": "g++",
    "cmake": "cmake",
    "glslc": "glslc",
    "libvulkan.so.1": "libvulkan1 mesa-vulkan-drivers",
}
_HEADER_PACKAGES = ("libvulkan-dev", "spirv-headers")
_DEBIAN = """Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
_HEADERS = "vulkan/vulkan_core.h"


def header_version(core: str) -> tuple[int, int]:
    """The version that vulkan_core.h is of; (0, 0) where it does not say."""
    found = re.search(
        r"#define VK_HEADER_VERSION_COMPLETE VK_MAKE_API_VERSION\(0, (\d+), (\d+),", core
    )
    return (int(found[1]), int(found[2])) if found else (0, 0)


def lacking(libvulkan: Path | None) -> list[str]:
    """The Debian packages of what is not here."""
    tools = [one for one in ("c++", "cmake", "glslc") if shutil.which(one) is None]
    if libvulkan is None:
        tools.append("libvulkan.so.1")
    return [_PACKAGES[one] for one in tools]


def libvulkan() -> Path | None:
    """Vulkan's loader, as the system's linker finds it."""
    tool = shutil.which("ldconfig") or "/sbin/ldconfig"
    listed = subprocess.run([tool, "-p"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"libvulkan\.so\.1 .*=> (\S+)", listed)
    return Path(found[1]) if found else None


def source(folder: Path) -> Path:
    """llama.cpp's source: the one that is named, or else out of the pinned sdist."""
    if named := os.environ.get("LLAMA_CPP_SOURCE"):
        return Path(named)
    pinned = f"--constraint={ROOT / 'constraints.txt'}"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", f"--no-binary={PACKAGE}", pinned, f"--dest={folder}", PACKAGE),
        ],
        check=True,
    )
    (packed,) = folder.glob("llama_cpp_python-*.tar.gz")
    with tarfile.open(packed) as tar:
        tar.extractall(folder, filter="data")
    return folder / packed.name.removesuffix(".tar.gz") / "vendor" / "llama.cpp"


def headers(folder: Path) -> Path | None:
    """The folder `usr` of Debian 13's headers, unpacked; None where the system's are new enough."""
    core = Path("/usr/include") / _HEADERS
    if core.is_file() and header_version(core.read_text()) >= LEAST_HEADERS:
        return None
    state = folder / "apt"
    for one in ("lists/partial", "cache/archives/partial"):
        (state / one).mkdir(parents=True)
    (state / "status").touch()
    (state / "trixie.sources").write_text(_DEBIAN)
    apt = [
        "apt-get",
        "--quiet=2",
        *("-o", f"Dir::State={state}", "-o", f"Dir::State::status={state}/status"),
        *("-o", f"Dir::Cache={state}/cache", "-o", "Dir::Etc::SourceParts=/dev/null"),
        *("-o", f"Dir::Etc::SourceList={state}/trixie.sources", "-o", "Debug::NoLocking=1"),
    ]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "download", *_HEADER_PACKAGES], check=True, cwd=folder)
    unpacked = folder / "headers"
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(unpacked)], check=True)
    return unpacked / "usr"


def build(target: Path, *, is_whole: bool) -> None:
    """Build it into `target`."""
    loader = libvulkan()
    if missing := lacking(loader):
        raise SystemExit(f"this is needed first: apt-get install {' '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="umad-vulkan-") as name:
        folder = Path(name)
        flags = [*FLAGS, f"-DVulkan_LIBRARY={loader}"]
        if usr := headers(folder):
            flags += [
                f"-DVulkan_INCLUDE_DIR={usr}/include",
                f"-DSPIRV-Headers_DIR={usr}/share/cmake/SPIRV-Headers",
                f"-DCMAKE_CXX_FLAGS=-I{usr}/include",
            ]
        made = folder / "build"
        subprocess.run(["cmake", "-S", source(folder), "-B", made, *flags], check=True)
        jobs = str(os.cpu_count() or 1)
        subprocess.run(
            [
                *("cmake", "--build", made, "--parallel", jobs),
                *("--target", *TARGETS, *(WHOLE if is_whole else ())),
            ],
            check=True,
        )
        take(made / "bin", target, "*" if is_whole else "ggml-vulkan")


def take(made: Path, target: Path, which: str) -> None:
    """Copy libraries. A link stays one: two copies of ggml would be two libraries."""
    target.mkdir(parents=True, exist_ok=True)
    for one in sorted(made.glob(f"lib{which}.so*")):
        shutil.copy2(one, target / one.name, follow_symlinks=False)


def main() -> None:
    """The command line."""
    words = [one for one in sys.argv[1:] if one != "--whole"]
    if len(words) != 1:
        raise SystemExit(__doc__)
    build(Path(words[0]).absolute(), is_whole="--whole" in sys.argv)


if __name__ == "__main__":
    main()
