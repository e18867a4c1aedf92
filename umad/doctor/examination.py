"""Runs the checks one after another, and keeps their findings in order.

A check that fails itself is a finding, and the others go on: the doctor is for machines on which
something is wrong.
"""

import logging
from collections.abc import Callable, Iterable, Mapping

from umad.doctor import (
    bandwidth,
    clocks,
    cores,
    disk,
    engine,
    memory,
    service,
    settings_check,
    socket_folder,
    store,
    versions,
)
from umad.doctor.finding import Finding, State, note
from umad.doctor.surroundings import Surroundings
from umad.exit_codes import DONE, FAILED

log = logging.getLogger(__name__)

Check = Callable[[Surroundings], list[Finding]]

# In the order in which they are shown: what everything rests on comes first. The probe of
# bandwidth comes after the cheap ones, because it takes all cores.
CHECKS: Mapping[str, Check] = {
    settings_check.CHECK: settings_check.check,
    versions.CHECK: versions.check,
    engine.CHECK: engine.check,
    memory.CHECK: memory.check,
    cores.CHECK: cores.check,
    bandwidth.CHECK: bandwidth.check,
    socket_folder.CHECK: socket_folder.check,
    service.CHECK: service.check,
    store.CHECK: store.check,
    disk.CHECK: disk.check,
    clocks.CHECK: clocks.check,
}


def examine(around: Surroundings, checks: Mapping[str, Check] = CHECKS) -> list[Finding]:
    """All findings, in the order of `checks`."""
    found: list[Finding] = []
    for name, check in checks.items():
        try:
            found += check(around)
        except Exception as error:
            # A check's boundary: a machine that surprises one check has ten others to be told of.
            log.debug("check failed name=%s", name, exc_info=True)
            found.append(
                note(
                    name,
                    f"could not be looked at: {type(error).__name__}: {error}",
                    str(error),
                    mend="please report it",
                )
            )
    return found


def exit_code(found: Iterable[Finding]) -> int:
    """0 where nothing has to be mended, else 1."""
    return FAILED if any(one.state is State.WRONG for one in found) else DONE
