"""Host memory for copies: kept for the next copy, or given back to the system."""

import subprocess
import sys
import threading
from pathlib import Path

import psutil

from umad.engine.llamacpp.host_memory import HostMemory

ROOT = Path(__file__).parents[2]
MB = 2**20
SLAB = 3 * MB // 4


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


def used_and_given(host: HostMemory, n: int) -> None:
    slabs = [host.take(SLAB) for _ in range(n)]
    for slab in slabs:
        slab[:] = 1
        host.give(slab)


def until_freed() -> None:
    for thread in threading.enumerate():
        if thread.name == "umad-freeing":
            thread.join(60)


def test_memory_is_kept_for_the_next_copy_of_its_size() -> None:
    host = HostMemory(64 * MB)
    used_and_given(host, 8)

    assert host.held_bytes == 8 * SLAB
    assert host.take(SLAB).any(), "it is memory that was used before"


# In a process of its own: in one with a past, copies lie in memory that was given back before.
GIVES_BACK = """
import time
from tests.engine.test_host_memory import MB, resident, until_freed, used_and_given
from umad.engine.llamacpp.host_memory import HostMemory

host = HostMemory(256 * MB)
used_and_given(host, 1)  # the allocator has its own needs
before = resident()
used_and_given(host, 100)
full = resident()
host.limit(128 * MB, keeps_spare=False)
until_freed()
end_s = time.monotonic() + 60
while resident() - before > 10 * MB and time.monotonic() < end_s:
    time.sleep(0.01)
print(host.held_bytes, (full - before) // MB, (resident() - before) // MB)
"""


def test_while_memory_is_short_what_nobody_uses_goes_back_to_the_system() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", GIVES_BACK],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )

    held, used_mb, left_mb = map(int, ended.stdout.split())
    assert held == 0
    assert used_mb > 50
    assert left_mb <= 10


def test_while_memory_is_short_nothing_is_kept_and_what_is_in_use_stays() -> None:
    host = HostMemory(64 * MB)
    used = host.take(SLAB)
    used[:] = 7

    host.limit(32 * MB, keeps_spare=False)
    given = host.take(SLAB)
    host.give(given)

    assert host.held_bytes == SLAB
    assert (used == 7).all()


def test_afterwards_memory_is_kept_again() -> None:
    host = HostMemory(64 * MB)
    host.limit(8 * MB, keeps_spare=False)

    host.limit(64 * MB, keeps_spare=True)
    used_and_given(host, 8)

    assert host.held_bytes == 8 * SLAB
