"""Asks Vulkan which drivers there are, and refuses a device of one that ends the process.

Mesa has a device in software, llvmpipe, which llama.cpp takes where it is named. Mesa 22.3.6 ends
the process by SIGSEGV, on a thread of its own, some time after a model is loaded; umad would start
engine after engine. Mesa 25.0.7 works. ggml tells no version of a driver, so Vulkan's loader is
asked for it here, by the few calls that this takes.

Not: drivers of GPUs, of which no version is known to be wrong. Owner: the main thread.
"""

import ctypes
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from umad.engine.llamacpp.devices import Device
from umad.errors import Unsupported

# How llama.cpp and Vulkan call Mesa's device on the processor.
SOFTWARE = "llvmpipe"
# The last version that was seen to end the process is 22.3.6. 23 and 24 were not tried.
_OLDEST_MAJOR = 23
_MESA = re.compile(r"Mesa (\d+)\.")

_LOADERS = ("libvulkan.so.1", "libvulkan.1.dylib")
# vulkan_core.h: numbers of structs, and the version 1.2, which has the calls.
_APPLICATION_INFO, _INSTANCE_INFO = 0, 1
_PROPERTIES_2, _DRIVER_PROPERTIES = 1000059001, 1000196000
_VERSION_1_2 = (1 << 22) | (2 << 12)
_MOST_DEVICES = 16
# VkPhysicalDeviceProperties, of which nothing is read, has 824 bytes.
_PROPERTIES_BYTES = 1024


@dataclass(frozen=True, slots=True)
class VulkanDriver:
    """What the driver of one device says of itself."""

    name: str
    # Its version in its own words, as "Mesa 25.0.7-2 (LLVM 15.0.6)".
    version: str


class _ApplicationInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("application", ctypes.c_char_p),
        ("application_version", ctypes.c_uint32),
        ("engine", ctypes.c_char_p),
        ("engine_version", ctypes.c_uint32),
        ("api_version", ctypes.c_uint32),
    )


class _InstanceInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.POINTER(_ApplicationInfo)),
        ("n_layers", ctypes.c_uint32),
        ("layers", ctypes.c_void_p),
        ("n_extensions", ctypes.c_uint32),
        ("extensions", ctypes.c_void_p),
    )


class _DriverProperties(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("id", ctypes.c_int),
        ("name", ctypes.c_char * 256),
        ("info", ctypes.c_char * 256),
        ("conformance", ctypes.c_uint8 * 4),
    )


class _Properties(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("properties", ctypes.c_uint8 * _PROPERTIES_BYTES),
    )


def refuse_old_software(devices: Iterable[Device]) -> None:
    """Raise `Unsupported` where one of the devices that compute is Mesa's in software, of a version
    that ends the process."""
    if not any(one.description.startswith(SOFTWARE) for one in devices):
        return
    if reason := why_too_old(vulkan_drivers()):
        raise Unsupported(f"{reason}; --device none computes on the processor without it")


def why_too_old(drivers: Iterable[VulkanDriver]) -> str:
    """Why Mesa's device in software is not to be used, and what to install; "" where it may be."""
    for one in drivers:
        found = _MESA.match(one.version)
        if one.name == SOFTWARE and found and int(found[1]) < _OLDEST_MAJOR:
            return (
                f"{SOFTWARE} of {one.version} ends the process that computes on it: install Mesa "
                "25 (Debian 12: apt-get install -t bookworm-backports mesa-vulkan-drivers)"
            )
    return ""


def vulkan_drivers() -> tuple[VulkanDriver, ...]:
    """The drivers of all devices that Vulkan finds; none where there is no Vulkan."""
    vulkan = _loader()
    if vulkan is None:
        return ()
    application = _ApplicationInfo(type=_APPLICATION_INFO, api_version=_VERSION_1_2)
    info = _InstanceInfo(type=_INSTANCE_INFO, application=ctypes.pointer(application))
    instance = ctypes.c_void_p()
    if vulkan.vkCreateInstance(ctypes.byref(info), None, ctypes.byref(instance)) != 0:
        return ()
    try:
        count = ctypes.c_uint32(_MOST_DEVICES)
        handles = (ctypes.c_void_p * _MOST_DEVICES)()
        # Below 0 it is an error; above, there are more devices.
        if vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles) < 0:
            return ()
        return tuple(_driver(vulkan, one) for one in handles[: count.value])
    finally:
        vulkan.vkDestroyInstance(instance, None)


def _driver(vulkan: Any, handle: int | None) -> VulkanDriver:
    driver = _DriverProperties(type=_DRIVER_PROPERTIES)
    at = ctypes.cast(ctypes.pointer(driver), ctypes.c_void_p)
    properties = _Properties(type=_PROPERTIES_2, next=at)
    vulkan.vkGetPhysicalDeviceProperties2(ctypes.c_void_p(handle), ctypes.byref(properties))
    name, version = driver.name, driver.info
    return VulkanDriver(name.decode("utf-8", "replace"), version.decode("utf-8", "replace"))


def _loader() -> Any:
    for name in _LOADERS:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if hasattr(library, "vkGetPhysicalDeviceProperties2"):
            return library
    return None
