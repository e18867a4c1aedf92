"""Devices of the library that is installed, and backends that have found none."""

from dataclasses import replace
from pathlib import Path

from umad.engine.llamacpp import llama
from umad.engine.llamacpp.devices import Device, looks_always, silent_backends
from umad.engine.llamacpp.memory_check import device_bytes

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
