"""Threads that a computation leaves behind."""

import pytest

from umad.engine.llamacpp.devices import Device
from umad.engine.llamacpp.kept_threads import keeps_threads


def device(kind: str) -> Device:
    return Device(name="one", description="one", kind=kind, backend="one", memory_bytes=1)


@pytest.mark.parametrize("kind", ["gpu", "igpu", "accel"])
def test_a_driver_keeps_threads_of_its_own(kind: str) -> None:
    assert keeps_threads([device("cpu"), device(kind)], mapped=list)


@pytest.mark.parametrize(
    "library",
    ["/usr/lib/libomp.so.5", "/opt/intel/libiomp5.so", "/x/llama.libs/libomp-1a2b3c.so.5.0"],
)
def test_an_openmp_whose_threads_go_on_to_the_next_computation_keeps_them(library: str) -> None:
    assert keeps_threads([device("cpu")], mapped=lambda: ["/usr/lib/libc.so.6", library])


@pytest.mark.parametrize(
    "library", ["/usr/lib/libgomp.so.1", "/x/libgomp-a34b3233.so.1.0.0", "/usr/lib/libompi.so"]
)
def test_the_threads_of_gnus_openmp_end_with_the_thread_that_computed(library: str) -> None:
    assert not keeps_threads([device("cpu")], mapped=lambda: [library])
