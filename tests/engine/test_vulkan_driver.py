"""Drivers of Vulkan that are too old, by what real ones said of themselves."""

import pytest

from umad.engine.llamacpp.devices import Device
from umad.engine.llamacpp.vulkan_driver import (
    VulkanDriver,
    refuse_old_software,
    vulkan_drivers,
    why_too_old,
)

# As Debian 12's own, its backports', and a GPU's driver of the old Mesa have it.
OLD = VulkanDriver("llvmpipe", "Mesa 22.3.6 (LLVM 15.0.6)")
NEW = VulkanDriver("llvmpipe", "Mesa 25.0.7-2~bpo12+1 (LLVM 15.0.6)")
GPU = VulkanDriver("radv", "Mesa 22.3.6")


def test_an_old_mesa_in_software_is_too_old_and_the_line_says_what_to_install() -> None:
    line = why_too_old([GPU, OLD])

    assert "Mesa 22.3.6" in line
    assert "install Mesa 25" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "driver", [NEW, GPU, VulkanDriver("llvmpipe", ""), VulkanDriver("NVIDIA", "535.1")]
)
def test_other_drivers_are_used(driver: VulkanDriver) -> None:
    assert why_too_old([driver]) == ""


def test_nothing_is_asked_where_no_device_in_software_computes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "umad.engine.llamacpp.vulkan_driver.vulkan_drivers", lambda: pytest.fail("was asked")
    )
    gpu = Device(
        name="Vulkan0", description="Radeon", kind="gpu", backend="Vulkan", memory_bytes=100
    )

    refuse_old_software([gpu])


def test_asking_for_drivers_is_answered_with_and_without_vulkan() -> None:
    assert all(isinstance(one, VulkanDriver) for one in vulkan_drivers())
