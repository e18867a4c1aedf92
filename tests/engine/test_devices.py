"""Devices of the library that is installed, and backends that have found none."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from umad.engine.llamacpp import llama
from umad.engine.llamacpp.devices import Device, chosen, looks_always, silent_backends
from umad.engine.llamacpp.library_binding import BACKEND_VARIABLE
from umad.engine.llamacpp.memory_check import device_bytes
from umad.errors import BadConfig

GPU = Device(name="Vulkan0", description="Radeon", kind="gpu", backend="Vulkan", memory_bytes=100)
CPU = Device(name="CPU", description="a processor", kind="cpu", backend="CPU", memory_bytes=999)


def test_a_backend_whose_file_is_there_and_that_found_no_device_is_named(tmp_path: Path) -> None:
    for name in ("libggml-vulkan.so", "libggml-base.so.0", "libggml-cpu.so", "notes.txt"):
        (tmp_path / name).touch()

    assert silent_backends(llama.libggml, tmp_path) == ("vulkan",)
    assert silent_backends(llama.libggml, tmp_path / "nowhere") == ()


def test_only_a_processor_looks_at_the_abort_flag_all_the_time() -> None:
    assert looks_always([CPU])
    assert not looks_always([GPU, CPU])


def test_the_memory_of_a_software_device_is_the_machines_own() -> None:
    software = replace(GPU, description="llvmpipe (LLVM 15.0.6, 256 bits)")

    assert device_bytes((GPU, CPU)) == 100
    assert device_bytes((software, CPU)) == 0


def test_the_option_names_accelerators_and_the_processor_computes_in_any_case() -> None:
    second = replace(GPU, name="Vulkan1", description="Iris")
    every = (GPU, second, CPU)

    assert chosen(every, None) == every
    assert chosen(every, "vulkan1") == (second, CPU)
    assert chosen(every, "Vulkan1, Vulkan0") == every
    assert chosen(every, "none") == chosen(every, "CPU") == (CPU,)
    with pytest.raises(
        BadConfig,
        match=r"device names 'CUDA0', .* there are Vulkan0 \(Radeon\), Vulkan1 \(Iris\), CPU$",
    ):
        chosen(every, "Vulkan0,CUDA0")


@pytest.mark.parametrize("variable", [BACKEND_VARIABLE, "UMAD_BACKENDS"])
@pytest.mark.parametrize("content", [None, "no library at all"])
def test_a_backend_that_cannot_be_loaded_is_refused_in_one_line(
    content: str | None, variable: str, tmp_path: Path
) -> None:
    path = tmp_path / "libggml-vulkan.so"
    if content is not None:
        path.write_text(content)

    ended = subprocess.run(
        [sys.executable, "-c", "import umad.engine.llamacpp.library"],
        env=os.environ | {variable: str(path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    named_by = "backends" if variable == "UMAD_BACKENDS" else variable
    last = ended.stderr.splitlines()[-1]
    assert f"BadConfig: {named_by} names {path}" in last
    assert "; the devices without it are " in last
