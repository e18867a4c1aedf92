import os
import subprocess
import sys

import psutil
import pytest

from umad.engine.process import decode_threads, memory_bytes


def spin_count_after_share_cores(**variables: str) -> str:
    script = (
        "import os; from umad.engine.waiting import share_cores; share_cores();"
        "print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    unset = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    environment = {k: v for k, v in os.environ.items() if k not in unset} | variables
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, check=True, text=True
    )
    return run.stdout.strip()


def test_decoding_uses_no_more_cores_than_there_are() -> None:
    assert 1 <= decode_threads() <= (psutil.cpu_count(logical=True) or 1)


def test_a_process_cannot_have_more_memory_than_the_machine() -> None:
    assert 0 < memory_bytes() <= psutil.virtual_memory().total


def test_threads_that_wait_soon_leave_their_core_to_others() -> None:
    assert spin_count_after_share_cores() == "3000"


def test_a_users_own_choice_of_waiting_stays() -> None:
    assert spin_count_after_share_cores(GOMP_SPINCOUNT="777") == "777"
    assert spin_count_after_share_cores(OMP_WAIT_POLICY="active") == "None"


RELEASED = """
import ctypes, sys
from umad.engine.process import map_large_blocks
if sys.argv[1] == "mapped":
    map_large_blocks()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
# glibc takes the size of a large block that is freed as its limit.
libc.free(libc.malloc(20 << 20))
before = resident()
block = libc.malloc(16 << 20)
ctypes.memset(block, 1, 16 << 20)
pin = libc.malloc(100)
libc.free(block)
print((resident() - before) >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
def test_a_large_block_goes_back_to_the_system_when_it_is_freed() -> None:
    def left(how: str) -> int:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        run = subprocess.run(
            [sys.executable, "-c", RELEASED, how],
            env=environment,
            capture_output=True,
            check=True,
            text=True,
        )
        return int(run.stdout)

    assert left("as glibc does") >= 15
    assert left("mapped") <= 1
