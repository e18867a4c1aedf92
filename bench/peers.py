"""Builds the programs umad is measured against: llama-server, llama-bench, llama-batched-bench.

They come from the llama.cpp inside the source distribution of llama-cpp-python, the version the
engine runs on. They are configured as that package configures it, so the kernels are the same.
`$CMAKE_ARGS` is honoured as the package honours it: build both with the same value. They are built
without AMX where AMX does not work for the engine's own llama.cpp, because they use it unasked.
Not an installer: nothing leaves the cache folder. Owner: whoever holds the lock `peers`.
"""

import argparse
import dataclasses
import hashlib
import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench import cache, instructions
from bench.errors import BenchError

VERSION = "0.3.36"
PROGRAMS = ("llama-server", "llama-bench", "llama-batched-bench")
_STAMP = "built.json"
_VENDORED = "vendor/llama.cpp/"

# What is left out changes no kernel. USE_PREBUILT_UI would fetch a web page while configuring.
_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
)
# -march=native turns AMX on whatever cmake is told of it; llama.cpp's kernels ask for this macro.
_NO_AMX = "-U__AMX_INT8__"
# What cmake begins with where it is told nothing.
_COMPILER_FLAGS = {"CMAKE_C_FLAGS": "CFLAGS", "CMAKE_CXX_FLAGS": "CXXFLAGS"}
# The package's own CMakeLists.txt forces these on Apple machines.
_APPLE_FLAGS = ("-DGGML_METAL=ON", "-DGGML_METAL_EMBED_LIBRARY=ON")
_APPLE_INTEL_FLAGS = ("-DGGML_AVX=OFF", "-DGGML_AVX2=OFF", "-DGGML_FMA=OFF", "-DGGML_F16C=OFF")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """Paths of the built programs."""

    version: str  # of llama-cpp-python, whose llama.cpp this is
    server: Path
    bench: Path
    batched_bench: Path


def source() -> Path:
    """The folder of llama.cpp's sources, downloaded and unpacked when missing."""
    home = cache.folder(f"llama.cpp-{VERSION}")
    target = home / "source"
    with cache.exclusive("peers-source"):
        if target.is_dir():
            return target
        with tempfile.TemporaryDirectory(dir=home) as scratch:
            archive = _download(Path(scratch))
            unpacked = _unpack(archive, Path(scratch) / "unpacked")
            unpacked.rename(target)
    return target


def build(*, jobs: int | None = None) -> Peers:
    """The built programs; does nothing when version and flags are those of the last build."""
    sources = source()
    home = sources.parent
    with cache.exclusive("peers-build"):
        if (found := built()) is not None:
            return found
        cmake, ninja = _tool("cmake"), _tool("ninja")
        configure = [cmake, "-S", str(sources), "-B", str(home / "build"), "-G", "Ninja"]
        # Nothing remembered of other flags: cmake keeps what it is no longer told.
        configure.append("--fresh")
        _logged([*configure, f"-DCMAKE_MAKE_PROGRAM={ninja}", *_flags()], home / "configure.log")
        compile_ = [cmake, "--build", str(home / "build"), "--parallel", str(jobs or _cores())]
        _logged([*compile_, "--target", *PROGRAMS], home / "build.log")
        (home / _STAMP).write_text(_stamp())
    return _peers(home)


def built() -> Peers | None:
    """The programs if they are there, of this version and these flags; never builds."""
    home = cache.folder(f"llama.cpp-{VERSION}")
    peers, stamp_file = _peers(home), home / _STAMP
    there = all(path.is_file() for path in (peers.server, peers.bench, peers.batched_bench))
    return peers if there and stamp_file.is_file() and stamp_file.read_text() == _stamp() else None


def _peers(home: Path) -> Peers:
    server, bench, batched_bench = (home / "build" / "bin" / program for program in PROGRAMS)
    return Peers(version=VERSION, server=server, bench=bench, batched_bench=batched_bench)


def _stamp() -> str:
    return json.dumps({"version": VERSION, "flags": _flags(), "programs": PROGRAMS})


def fingerprint() -> str:
    """Eight hex digits that change when version or flags of the peers do."""
    return hashlib.sha256(json.dumps([VERSION, _flags()]).encode()).hexdigest()[:8]


def _flags() -> list[str]:
    flags = [*_FLAGS]
    if sys.platform == "darwin":
        flags += _APPLE_FLAGS
        if platform.machine() == "x86_64":
            flags += _APPLE_INTEL_FLAGS
    flags += shlex.split(os.environ.get("CMAKE_ARGS", ""))
    return flags if instructions.amx_works() else without_amx(flags)


def without_amx(flags: Sequence[str]) -> list[str]:
    """The same flags of cmake for programs without AMX; what compilers are told beside it stays."""
    more = []
    for option, variable in _COMPILER_FLAGS.items():
        told = os.environ.get(variable, "")
        for flag in flags:
            name, _, value = flag.partition("=")
            if name.partition(":")[0] == f"-D{option}":
                told = value
        more.append(f"-D{option}={' '.join([*told.split(), _NO_AMX])}")
    return [*flags, *more]


def _cores() -> int:
    return os.cpu_count() or 1


def _download(folder: Path) -> Path:
    _pip(
        "download",
        "--no-deps",
        "--no-binary=llama-cpp-python",
        f"--dest={folder}",
        f"llama-cpp-python=={VERSION}",
        failure="the sources of llama.cpp could not be downloaded",
    )
    archives = sorted(folder.glob("llama_cpp_python-*.tar.gz"))
    if not archives:
        raise BenchError(f"pip left no source distribution of llama-cpp-python {VERSION}")
    return archives[0]


def _unpack(archive: Path, into: Path) -> Path:
    with tarfile.open(archive) as tar:
        prefix = f"llama_cpp_python-{VERSION}/{_VENDORED}"
        members = [member for member in tar.getmembers() if member.name.startswith(prefix)]
        if not members:
            raise BenchError(f"{archive.name} contains no {_VENDORED}; is its layout new?")
        tar.extractall(into, members=members, filter="data")
    return into / prefix


def _tool(name: str) -> str:
    """The path of a build tool: on the machine, else in this environment, else installed there."""
    beside = Path(sys.executable).parent / name
    found = shutil.which(name) or (str(beside) if beside.is_file() else None)
    if found:
        return found
    _pip("install", name, failure=f"{name} is not installed and pip could not install it")
    if beside.is_file():
        return str(beside)
    raise BenchError(f"{name} was not found; install it and run this again")


def _pip(*arguments: str, failure: str) -> None:
    if importlib.util.find_spec("pip") is None:
        raise BenchError(f"{failure}: this Python environment has no pip")
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        errors = [line for line in run.stderr.splitlines() if line.startswith("ERROR")]
        raise BenchError(f"{failure}: {errors[-1] if errors else 'pip gave no reason'}")


def _logged(command: Sequence[str], log: Path) -> None:
    with log.open("w") as output:
        run = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    if run.returncode:
        raise BenchError(f"{Path(command[0]).name} failed; the reason is at the end of {log}")


def main() -> int:
    """Command line: build, then print where the programs are."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--jobs", type=int, default=None, help="compilers at a time")
    parser.add_argument("--source-only", action="store_true", help="download, do not build")
    options = parser.parse_args()
    console, errors = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)
    try:
        if options.source_only:
            console.print(str(source()), highlight=False)
            return 0
        if faults := instructions.faults():
            errors.print(faults, highlight=False, markup=False)
        peers = build(jobs=options.jobs)
    except BenchError as error:
        errors.print(f"error: {error}", style="red", highlight=False, markup=False)
        return 1
    for path in (peers.server, peers.bench, peers.batched_bench):
        console.print(str(path), highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
