"""Measures the machine's read bandwidth once, remembers it, and sets the ΣBMT budget from it.

Runs before the daemon's event loop and its engines, because a probe takes half a second of all
cores. The result is kept for each machine (processor, cores, threads) in the user's cache folder. A
damaged or unwritable file costs another probe and never prevents a start. Not: the probe itself
(`umad.daemon.read_probe`), nor keeping to the budget (`umad.scheduler.steps.traffic_budget`).
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from umad.cache_path import cache_folder
from umad.engine.llamacpp.processor import processor_name
from umad.engine.process import decode_threads
from umad.isolated import python_module
from umad.private_file import read_own, write_own

log = logging.getLogger(__name__)

PROBE_S = 30.0
_GB = 1e9
_FILE = "bandwidth.json"
# A home folder may be used on several machines; more entries than this are rubbish.
MAX_MACHINES = 64
_MAX_FILE_BYTES = 2**16
# No machine reads faster; a file with a higher figure is wrong.
_MOST_GBPS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The bytes that all engines together may move."""

    gbps: float
    # Whether the budget is the machine's own limit, found by probing.
    measured: bool

    @property
    def bytes_per_s(self) -> float:
        """The same rate in the engines' unit."""
        return self.gbps * _GB


class BandwidthMemory:
    """The bandwidth measured on this machine before.

    probe: measures now, in GB/s; returns None where it cannot.
    """

    def __init__(self, path: Path, machine: str, probe: Callable[[], float | None]) -> None:
        self.path = path
        self._machine = machine
        # Measures now, in GB/s; None where it cannot. Nothing is remembered of it.
        self.probe = probe

    def remembered(self) -> float | None:
        """GB/s of the best probe so far; None where there was none."""
        return self._read().get(self._machine)

    def known(self) -> float | None:
        """GB/s as remembered; measured now and remembered where there is nothing yet."""
        found = self.remembered()
        return found if found is not None else self.measured()

    def measured(self) -> float | None:
        """Measure GB/s anew, and keep the better of the new and the remembered figure.

        The better one is right, because other work can only make a probe slower.
        """
        fresh = self.probe()
        machines = self._read()
        known = machines.get(self._machine)
        if fresh is None:
            return known
        best = max(fresh, known or 0.0)
        self._write({**machines, self._machine: best})
        return best

    def _read(self) -> dict[str, float]:
        try:
            machines = json.loads(read_own(self.path, _MAX_FILE_BYTES))
            return {str(key): float(one) for key, one in machines.items() if 0 < one < _MOST_GBPS}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            log.warning("bandwidth file is not read path=%s reason=%s", self.path, error)
            return {}

    def _write(self, machines: dict[str, float]) -> None:
        kept = dict(list(machines.items())[-MAX_MACHINES:])
        try:
            write_own(self.path, json.dumps(kept, indent=1).encode())
        except OSError as error:
            log.warning("bandwidth cannot be remembered path=%s reason=%s", self.path, error)


def settle_budget(
    wanted: float | Literal["auto"], memory: BandwidthMemory, *, origin: str
) -> Budget | None:
    """The budget in force; None where no bandwidth is known.

    A rate above the machine's own limits nothing. It is taken all the same, with a warning that
    names `origin`, because one configuration may serve several machines.
    """
    bandwidth_gbps = memory.known()
    if wanted == "auto":
        if bandwidth_gbps is None:
            return None
        return Budget(gbps=round(bandwidth_gbps, 2), measured=True)
    if bandwidth_gbps is not None and wanted > bandwidth_gbps:
        # Something else may have disturbed the probe months ago, so measure again before warning.
        bandwidth_gbps = memory.measured() or bandwidth_gbps
        if wanted > bandwidth_gbps:
            log.warning(
                "%s: bmt_budget_gbps is %g GB/s, and this machine was measured to read %.1f GB/s, "
                "so it holds nothing back here; a lower rate would",
                origin,
                wanted,
                bandwidth_gbps,
            )
    return Budget(gbps=wanted, measured=False)


def machine_memory(threads: int | None, environ: Mapping[str, str]) -> BandwidthMemory:
    """The bandwidth remembered for this machine, for engines with `threads` threads."""
    n_threads = threads or decode_threads()
    return BandwidthMemory(
        cache_folder(environ, sys.platform) / _FILE,
        f"{processor_name()}, {os.cpu_count()} cores, {n_threads} threads",
        lambda: _probe(n_threads),
    )


def _probe(threads: int) -> float | None:
    command = python_module("umad.daemon.read_probe", str(threads))
    try:
        ended = subprocess.run(command, capture_output=True, timeout=PROBE_S, check=True, text=True)
        gbps = float(ended.stdout) / _GB
    except subprocess.TimeoutExpired:
        log.warning("bandwidth cannot be probed reason=not done within %.0f s", PROBE_S)
        return None
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        log.warning("bandwidth cannot be probed reason=%s", error)
        return None
    log.info("bandwidth probed gbps=%.1f threads=%d", gbps, threads)
    return gbps
