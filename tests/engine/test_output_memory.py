"""Where llama.cpp puts rows of logits, by lines of its log as it wrote them."""

import pytest

from umad.engine.llamacpp.devices import Device
from umad.engine.llamacpp.output_memory import output_memory, row_copies

CPU = Device(name="CPU", description="a processor", kind="cpu", backend="CPU", memory_bytes=1)
PINNED = "llama_context: Vulkan_Host  output buffer size =     0.05 MiB"
PLAIN = "llama_context:        CPU  output buffer size =     0.05 MiB"


def gpu(backend: str) -> Device:
    return Device(
        name=f"{backend}0", description="a GPU", kind="gpu", backend=backend, memory_bytes=1
    )


def test_the_log_names_the_memory_of_the_output() -> None:
    assert output_memory(["llama_context: n_ctx = 512", PINNED, "sched_reserve: ..."]) == (
        "Vulkan_Host"
    )
    assert output_memory([PLAIN]) == "CPU"
    assert output_memory([]) == ""


@pytest.mark.parametrize(
    ("memory", "devices", "gpu_layers", "copies"),
    [
        ("CPU", [CPU], -1, 1),
        ("Vulkan_Host", [gpu("Vulkan"), CPU], -1, 1),
        ("CPU", [gpu("Vulkan"), CPU], -1, 2),
        ("CPU", [gpu("Vulkan"), CPU], 0, 1),
        ("CPU", [gpu("MTL"), CPU], -1, 1),
    ],
)
def test_a_row_is_copied_twice_where_the_device_does_not_write_to_where_it_is_read(
    memory: str, devices: list[Device], gpu_layers: int, copies: int
) -> None:
    assert row_copies(memory, devices, gpu_layers=gpu_layers) == copies
