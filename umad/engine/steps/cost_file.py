"""Remembers the costs of steps per machine and model, in one small JSON file in the cache folder.

The engine reads the file at load, which spares most of the probing. It writes the file while it
rests and when it ends. A file that is damaged, or of another version or machine, is ignored with a
line in the log, so a bad file costs one round of probing at most.
Not: the costs themselves (`umad.scheduler`). Owner: the step thread.
"""

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from umad.private_file import read_own, write_own
from umad.scheduler.costs.cost_curve import ROWS
from umad.scheduler.costs.step_cost import PACE, CostModel, CostSnapshot

log = logging.getLogger("umad.engine")

VERSION = 4
# An engine is idle often. What it learnt in less time than this is not worth a write.
WRITE_EVERY_NS = 60_000_000_000
MAX_FILE_BYTES = 2**16


class CostFile:
    """One model's file on one machine.

    about: everything that costs depend on, as text. The file's name is a digest of this text, so
    the file also holds the text itself, and `read` can check that they agree.
    """

    def __init__(self, folder: Path, about: str) -> None:
        self._about = about
        self._path = folder / f"{hashlib.sha256(about.encode()).hexdigest()[:32]}.json"
        self._written: CostSnapshot | None = None
        self._written_ns = 0

    def read(self) -> CostSnapshot | None:
        """The remembered costs; None where the file is missing or cannot be used."""
        try:
            found = checked(json.loads(read_own(self._path, MAX_FILE_BYTES)), self._about)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, OverflowError, RecursionError) as error:
            log.warning("costs are not read path=%s reason=%s", self._path, error)
            return None
        self._written = found
        return found

    def write_now_and_then(self, cost: CostModel, now_ns: int) -> None:
        """Write, unless the last write was less than `WRITE_EVERY_NS` ago."""
        if now_ns - self._written_ns >= WRITE_EVERY_NS:
            self._written_ns = now_ns
            self.write(cost)

    def write(self, cost: CostModel) -> None:
        """Replace the file as a whole or not at all. A failure is logged, and
        costs a probe later.
        """
        costs = cost.snapshot()
        if costs == self._written:
            return
        text = json.dumps({"version": VERSION, "about": self._about, "costs": costs})
        try:
            write_own(self._path, text.encode())
        except OSError as error:
            log.warning("costs cannot be remembered path=%s reason=%s", self._path, error)
        else:
            self._written = costs


def checked(value: Any, about: str) -> CostSnapshot:
    """The costs in a file's `value`. Raises `ValueError` for anything else."""
    if not isinstance(value, dict) or value.get("version") != VERSION:
        raise ValueError(f"it is not of version {VERSION}")
    if value.get("about") != about:
        raise ValueError("it is about another machine or model")
    costs = value.get("costs")
    names = CostModel().snapshot().keys()
    if not isinstance(costs, dict) or costs.keys() != names:
        raise ValueError("it lacks a curve")
    found: CostSnapshot = {}
    for name, curve in costs.items():
        if not isinstance(curve, list) or len(curve) != 2:
            raise ValueError(f"{name} is no curve")
        points, cell_ms = curve
        if not _is_number(cell_ms):
            raise ValueError(f"{name} has no price of a cell")
        found[name] = (_points(name, points), float(cell_ms))
    return found


def _points(name: str, points: Any) -> list[tuple[float, int]]:
    if not isinstance(points, list) or len(points) != len(ROWS):
        raise ValueError(f"{name} has not {len(ROWS)} points")
    read: list[tuple[float, int]] = []
    for point in points:
        if not isinstance(point, Sequence) or len(point) != 2:
            raise ValueError(f"{name} has a point that is none")
        ms, seen = point
        # A pace of 0 is a measurement: the step took no more than the device's own time. A cost of
        # 0 is no measurement.
        if not _is_number(ms) or (ms == 0 and name != PACE) or type(seen) is not int or seen < 0:
            raise ValueError(f"{name} has a point that is none")
        read.append((float(ms), seen))
    return read


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0
