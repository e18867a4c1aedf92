"""Collects the facts about the machine that a table of measurements must state.

Facts are read once, before measuring; nothing here changes the machine. Owner: the caller.
"""

import dataclasses
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from bench import instructions
from bench.peers import VERSION, Peers
from umad import __version__

_SAMPLE_S = 1.0  # how long the machine's load is watched; our own share of it is nothing


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine and the software on it."""

    cpu: str
    cores: int  # that this process may run on
    memory_bytes: int
    system: str
    backend: str  # devices llama.cpp sees, "CPU" when none
    llama_cpp: str
    python: str
    umad: str
    busy_pct: float | None  # of all cores, by others, just before; None where unknown
    load_average: float
    faults: str = ""  # instructions that do not work, and what was done without them

    def lines(self) -> list[str]:
        """The facts as lines to print above a table."""
        busy = "" if self.busy_pct is None else f", {self.busy_pct:.0f} % busy before the start"
        return [
            f"{self.cpu}, {self.cores} cores, {self.memory_bytes / 2**30:.1f} GiB, {self.system}",
            f"backend {self.backend}, llama.cpp {self.llama_cpp}",
            f"umad {self.umad}, Python {self.python}",
            f"load average {self.load_average:.2f}{busy}",
            *([self.faults] if self.faults else []),
        ]


def facts(peers: Peers | None) -> Machine:
    """Reads the facts; takes about a second, most of it watching how busy the machine is. peers:
    None where they are not built, and nobody can say what devices llama.cpp sees."""
    return Machine(
        cpu=_cpu(),
        cores=cores(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        backend="not known" if peers is None else _backend(peers.bench),
        llama_cpp=_llama_cpp(),
        python=platform.python_version(),
        umad=_umad(),
        busy_pct=_busy_pct(),
        load_average=os.getloadavg()[0],
        faults=instructions.faults(),
    )


def cores() -> int:
    """Cores this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> str:
    if sys.platform == "darwin":
        return _output(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _backend(llama_bench: Path) -> str:
    lines = _output([str(llama_bench), "--list-devices"]).splitlines()
    devices = [line.strip() for line in lines if line.startswith("  ") and "(none)" not in line]
    return ", ".join(devices) or "CPU"


def _llama_cpp() -> str:
    peer = f"of llama-cpp-python {VERSION}"
    try:
        ours = importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        return f"{peer} (the engine's own is not installed here)"
    return peer if ours == VERSION else f"{peer}, but the engine runs {ours}"


def _umad() -> str:
    here = str(Path(__file__).resolve().parent)
    commit = _output(["git", "-C", here, "describe", "--always", "--dirty"])
    return f"{__version__} ({commit})" if commit else __version__


def _busy_pct() -> float | None:
    before = _cpu_times()
    if before is None:
        return None
    time.sleep(_SAMPLE_S)
    after = _cpu_times()
    if after is None or after[1] <= before[1]:
        return None
    return 100.0 * (1.0 - (after[0] - before[0]) / (after[1] - before[1]))


def _cpu_times() -> tuple[int, int] | None:
    """(idle, all) clock ticks of all cores since boot."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    ticks = [int(field) for field in stat.read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _output(command: list[str]) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""
