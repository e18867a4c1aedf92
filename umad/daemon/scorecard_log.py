"""Writes the scorecard every few seconds: a line in the log, and a row in a CSV file if one is
named.

Idle intervals are left out. A daemon that stops writes what its last interval held.

Not: computing it (`umad.metrics`). Owner: one task on the loop.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from umad.config import LoggingSettings
from umad.metrics.csv_rows import csv_header, csv_row
from umad.private_file import append_own

log = logging.getLogger(__name__)

_LOGGED = ("tokens_per_s_at_cap", "p50_ms", "p95_ms", "p99_ms", "ttft_p95_ms", "running")


async def write_scorecards(
    scorecard: Callable[[], Awaitable[Mapping[str, Any]]],
    settings: LoggingSettings,
    stopped: asyncio.Event,
) -> None:
    """Write scorecards until `stopped` is set, and then the last one: of the interval just cut.

    A file that cannot be written is reported once, and tried again with every row: a full disk may
    have room later.
    """
    fails = False
    path = None if settings.scorecard_csv is None else Path(settings.scorecard_csv)
    is_last = settings.scorecard_interval_s <= 0
    while not is_last:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), settings.scorecard_interval_s)
        is_last = stopped.is_set()
        facts = await scorecard()
        if not facts["requests"] and not facts["running"]:
            continue
        log.info("scorecard %s", " ".join(f"{name}={facts[name]}" for name in _LOGGED))
        if path is not None:
            row = csv_row(facts, at=datetime.now(UTC).isoformat(timespec="seconds"))
            try:
                await asyncio.to_thread(_append, path, row)
            except OSError as error:
                if not fails:
                    log.error("scorecard file cannot be written path=%s reason=%s", path, error)
                fails = True
            else:
                fails = False


def _append(path: Path, row: str) -> None:
    path = path.expanduser()
    is_new = not path.exists() or path.stat().st_size == 0
    # A disk that was full may have taken a part of a row.
    lead = csv_header() if is_new else "" if _ends_a_line(path) else "\n"
    append_own(path, (lead + row).encode())


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
