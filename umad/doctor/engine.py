"""Checks llama.cpp: whether it loads, its structs, its devices, and AMX that does not work.

A child process looks (`umad.engine.llamacpp.self_check`), because loading the library may kill it.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umad.doctor.finding import Finding, good, note, wrong
from umad.doctor.surroundings import Surroundings
from umad.engine.library.backends import OPTION as BACKENDS
from umad.engine.library.choice import AUTO, VARIABLE, Choice, use_libraries
from umad.engine.library.device_names import strange_name
from umad.errors import BadConfig
from umad.isolated import python_module

CHECK = "engine"
# Two seconds on an idle machine; the trial of kernels alone may take a minute on a busy one.
LOOK_S = 120.0
_REINSTALL = "pip install --force-reinstall --no-cache-dir llama-cpp-python"
_OTHER_LIBRARY = f"name another one, or take the option out ({VARIABLE}, llama_library)"
_WORDS_CHARS = 300
_OTHER_BACKENDS = "name other files, or take the option out (UMAD_BACKENDS, backends)"
_OTHER_DEVICE = "name one of these, or take the option out (UMAD_DEVICE, device)"
# What Python writes before the words of an error of an option.
_OUR_ERROR = "umad.errors.BadConfig: "


class EngineUnknown(Exception):
    """The child ended before it said anything. The text says how."""


class BackendsRefused(EngineUnknown):
    """A file that the option `backends` names is none. The text says which."""


def look() -> Mapping[str, Any]:
    """Ask the child. Raises `EngineUnknown`."""
    try:
        ended = subprocess.run(
            python_module("umad.engine.llamacpp.self_check"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LOOK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EngineUnknown(f"it was not done within {LOOK_S:.0f} s") from None
    except OSError as error:
        raise EngineUnknown(str(error)) from error
    if ended.returncode:
        lines = ended.stderr.strip().splitlines()
        last = lines[-1].removeprefix(_OUR_ERROR)[:_WORDS_CHARS] if lines else "no words"
        if last.startswith(f"{BACKENDS} "):
            raise BackendsRefused(last)
        raise EngineUnknown(f"exit status {ended.returncode}: {last}")
    try:
        found: Mapping[str, Any] = json.loads(ended.stdout)
    except ValueError:
        raise EngineUnknown("its answer cannot be read") from None
    return found


def check(around: Surroundings) -> list[Finding]:
    """Look at llama.cpp, and at the library that the configuration names."""
    named = around.settings.llama_library
    private = [*around.settings.backends]
    if named is not None and named != AUTO:
        private = [named, str(Path(named).expanduser().absolute())]
    try:
        choice = use_libraries(around.settings, os.environ)
    except BadConfig as error:
        return [wrong(CHECK, error.message, *private, mend=_OTHER_LIBRARY)]
    if choice.path is not None:
        private.append(str(choice.path))
    words = _chosen(choice)
    chosen = [good(CHECK, words, *private)] if words else []
    try:
        found = look()
    except BackendsRefused as error:
        return [wrong(CHECK, str(error), *private, mend=_OTHER_BACKENDS)]
    except EngineUnknown as error:
        return [wrong(CHECK, f"llama.cpp cannot be loaded: {error}", str(error), mend=_REINSTALL)]
    return chosen + findings(found, around)


def _chosen(choice: Choice) -> str:
    """Which library it is; "" for llama-cpp-python's own."""
    if choice.library is None or choice.line:
        return choice.line
    return f"llama_library is {choice.library.words()}"


def findings(found: Mapping[str, Any], around: Surroundings) -> list[Finding]:
    """The findings that follow from what the child says."""
    version = str(found["build"]).partition(";")[0]
    devices = found["devices"]
    shown = ", ".join(f"{one['name']} ({one['description']})" for one in devices)
    results = [_devices(devices, version, shown)]
    known = [str(one["name"]) for one in devices]
    if strange := strange_name(known, around.settings.engine.device):
        words = f"device names {strange!r}, and there is none of that name; there are {shown}"
        results.append(wrong(CHECK, words, mend=_OTHER_DEVICE))
    faults = found["struct_faults"]
    if faults:
        results.append(
            wrong(
                CHECK,
                "llama-cpp-python and the library it loads are of different versions: "
                f"{', '.join(faults[:3])} make no sense",
                mend=f"unset LLAMA_CPP_LIB_PATH, then: {_REINSTALL}",
            )
        )
    else:
        results.append(good(CHECK, "its structs fit the library"))
    results += _kernels(found, repack=around.settings.engine.repack is not False)
    if around.platform == "linux":
        results += _unused_gpu(devices, Path("/"))
    return results


def _devices(devices: list[Mapping[str, Any]], version: str, shown: str) -> Finding:
    if not devices:
        return wrong(CHECK, f"llama.cpp {version} has no device to compute on", mend=_REINSTALL)
    return good(CHECK, f"llama.cpp {version} computes on {shown}")


def _kernels(found: Mapping[str, Any], *, repack: bool) -> list[Finding]:
    """Findings about repacked kernels. repack: they are used where they work."""
    faults = found["repack"]
    flags = found["instructions"]
    if faults is None:
        return [
            note(
                CHECK,
                f"whether repacked kernels work here could not be tried: {found['repack_unknown']}",
                mend="umad doctor, once the machine is less busy",
            )
        ]
    results = []
    broken = {name: how for name, how in faults.items() if how}
    used = "repack is left off for it" if repack else "nothing uses it, since repack is false"
    amx = broken.pop("AMX", "")
    if amx:
        named = f"the processor advertises {', '.join(flags)}" if flags else "AMX is compiled in"
        results.append(
            note(
                CHECK,
                f"{named}, and a process that uses it ends by {amx}; {used}. A llama.cpp built "
                "without AMX repacks for other instructions",
                mend=f"CXXFLAGS=-U__AMX_INT8__ {_REINSTALL}",
            )
        )
    for name, how in broken.items():
        results.append(
            note(CHECK, f"the repacked kernels {name} fail by {how}; {used}", mend=_REINSTALL)
        )
    if not results:
        results.append(good(CHECK, f"all repacked kernels work ({', '.join(faults) or 'none'})"))
    return results


def _unused_gpu(devices: list[Mapping[str, Any]], root: Path) -> list[Finding]:
    """A note where the machine has a GPU that this build of llama.cpp cannot use."""
    if any(one["kind"] in ("gpu", "igpu") for one in devices):
        return []
    for place, flag in (
        ("dev/nvidiactl", "-DGGML_CUDA=on"),
        ("dev/kfd", "-DGGML_HIP=on"),
        ("dev/dri/renderD128", "-DGGML_VULKAN=on"),
    ):
        if (root / place).exists():
            return [
                note(
                    CHECK,
                    f"/{place} says that there is a GPU, and this llama.cpp was built without it",
                    mend=f"CMAKE_ARGS={flag} {_REINSTALL}",
                )
            ]
    return []
