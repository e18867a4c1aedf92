"""Fills HAProxy's table of sessions, and a fifth beyond it, and reads what HAProxy then holds.

The table has a size of its own, so whoever comes when it is full takes the place of those that were
idle longest. Sessions are put there over the admin socket, as the router pins them.
Owner: the process that measures; its HAProxy ends with it.
"""

import hashlib
import re
import socket
import subprocess
import time
from pathlib import Path

import psutil

from bench.errors import BenchError
from umad.router.haproxy import Proxy, commands, process, render

_BOUND_S = 60.0
# HAProxy reads one line into its buffer, of 64 KiB.
_AT_ONCE = 400


def haproxy_table(proxy: Proxy, folder: Path) -> dict[str, float]:
    """Megabytes that HAProxy holds with an empty table, a full one, and after a fifth more; and the
    sessions that it remembers in the end."""
    config = folder / "table.cfg"
    config.write_text(render(proxy))
    running = subprocess.Popen(
        [process.find_haproxy(), "-db", "-f", str(config)], stderr=subprocess.DEVNULL
    )
    try:
        _wait(proxy, running)
        held = psutil.Process(running.pid)
        found = {"empty_mb": _megabytes(held)}
        _fill(proxy, 0, proxy.most_sessions)
        found["full_mb"] = _megabytes(held)
        _fill(proxy, proxy.most_sessions, proxy.most_sessions * 6 // 5)
        found["beyond_mb"] = _megabytes(held)
        shown = re.search(r"used:(\d+)", _ask(proxy, "show table"))
        if shown is None:
            raise BenchError("HAProxy does not tell how many sessions it remembers")
        found["remembered"] = float(shown[1])
    finally:
        running.kill()
        running.wait()
    return found


def _fill(proxy: Proxy, first: int, beyond: int) -> None:
    for start in range(first, beyond, _AT_ONCE):
        numbers = range(start, min(beyond, start + _AT_ONCE))
        keys = (hashlib.sha256(str(one).encode()).hexdigest().upper() for one in numbers)
        said = _ask(
            proxy,
            ";".join(f"set table {commands.TABLE} key {key} data.server_id 1" for key in keys),
        )
        if said.strip():
            raise BenchError(f"HAProxy refuses a session: {said.strip()[:200]}")


def _ask(proxy: Proxy, line: str) -> str:
    with socket.socket(socket.AF_UNIX) as admin:
        admin.settimeout(_BOUND_S)
        admin.connect(proxy.admin_path)
        admin.sendall(line.encode() + b"\n")
        admin.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: admin.recv(65536), b"")).decode()


def _megabytes(held: psutil.Process) -> float:
    return round(held.memory_info().rss / 1e6, 1)


def _wait(proxy: Proxy, running: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.perf_counter() + _BOUND_S
    while time.perf_counter() < deadline_s and running.poll() is None:
        try:
            _ask(proxy, commands.SHOW_INFO)
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise BenchError("HAProxy does not start")
