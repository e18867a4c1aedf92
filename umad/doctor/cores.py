"""Checks how many threads a decode has against the cores it may use, and who else wants them."""

import os

import psutil

from umad.doctor.finding import Finding, good, note, wrong
from umad.doctor.surroundings import Surroundings
from umad.engine.process import decode_threads

CHECK = "cores"
# Programs that wait for a core for each core, over five minutes. Above this every step waits.
_CROWDED = 1.0


def check(around: Surroundings) -> list[Finding]:
    """Look at threads, cores and the load of the last five minutes."""
    found = threads(
        around.settings.engine.threads, decode_threads(), psutil.cpu_count(logical=True) or 1
    )
    load = os.getloadavg()[1] / (psutil.cpu_count(logical=True) or 1)
    if load > _CROWDED:
        found.append(
            note(
                CHECK,
                f"{load:.1f} programs want each core, so tokens come slower than they could",
                mend="end what is not needed, or leave it a core: umad serve --threads "
                f"{max(1, decode_threads() - 1)}",
            )
        )
    return found


def threads(asked: int | None, equal: int, logical: int) -> list[Finding]:
    """asked: the option; None for umad's choice. equal: cores that do equal work, as umad counts
    them. logical: all of them.
    """
    if asked is None or asked == equal:
        return [good(CHECK, f"{equal} threads, one for each of the cores that do equal work")]
    if asked > equal:
        why = "two of them share a core" if asked <= logical else "there are not so many cores"
        if asked <= logical:
            why += ", or fast cores wait for slow ones"
        return [
            wrong(
                CHECK,
                f"threads is {asked} for {equal} cores that do equal work: {why}",
                mend=f"umad serve --threads {equal}, or without it",
            )
        ]
    return [note(CHECK, f"threads is {asked}, and {equal} cores do equal work")]
