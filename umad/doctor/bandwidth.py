"""Checks the read rate that the traffic budget rests on: what is remembered against a probe now."""

import shlex

from umad.daemon.bandwidth import BandwidthMemory, machine_memory
from umad.doctor.finding import Finding, good, note, wrong
from umad.doctor.surroundings import Surroundings

CHECK = "bandwidth"
# Other programs make a probe slower. A machine that is this far below its best is busy, or was
# changed (one memory module less, another power plan).
_FAR_BELOW = 0.6


def check(around: Surroundings) -> list[Finding]:
    """Probe once. Takes half a second of all cores."""
    settings = around.settings
    memory = machine_memory(settings.engine.threads, around.environ)
    return findings(memory, settings.bmt_budget_gbps)


def _forget(memory: BandwidthMemory) -> str:
    """The command after which the next start measures anew."""
    return f"rm {shlex.quote(str(memory.path))}"


def findings(memory: BandwidthMemory, budget: float | str) -> list[Finding]:
    """Findings of a probe, and of the budget that is asked for."""
    before = memory.remembered()
    now = memory.probe()
    if now is None:
        return [
            wrong(
                CHECK,
                "the read rate of memory cannot be measured",
                mend="UMAD_LOG_LEVEL=info umad serve says why; --bmt-budget-gbps sets a rate",
            )
        ]
    if before is None:
        found = [good(CHECK, f"memory is read at {now:.1f} GB/s; nothing was remembered yet")]
    elif now < _FAR_BELOW * before:
        found = [
            note(
                CHECK,
                f"memory is read at {now:.1f} GB/s, and {before:.1f} GB/s are remembered: "
                "other programs read it now, or the machine was changed",
                str(memory.path),
                mend=f"if it was changed: {_forget(memory)}",
            )
        ]
    elif before < _FAR_BELOW * now:
        found = [
            wrong(
                CHECK,
                f"memory is read at {now:.1f} GB/s, and only {before:.1f} GB/s are remembered, so "
                "background work is held back for nothing",
                str(memory.path),
                mend=_forget(memory),
            )
        ]
    else:
        found = [good(CHECK, f"memory is read at {now:.1f} GB/s, of {before:.1f} remembered")]
    best = max(now, before or 0.0)
    if not isinstance(budget, str) and budget > best:
        found.append(
            note(
                CHECK,
                f"bmt_budget_gbps is {budget:g} GB/s, above what the machine reads, so it holds "
                "nothing back",
                mend="bmt_budget_gbps: auto",
            )
        )
    return found
