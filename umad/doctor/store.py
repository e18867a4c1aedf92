"""Checks the models that umad keeps.

A stub: this version keeps no store of models, so there is nothing to check. The check of its index
and checksums comes with the store.
"""

from umad.doctor.finding import Finding, note
from umad.doctor.surroundings import Surroundings

CHECK = "store"


def check(around: Surroundings) -> list[Finding]:
    """Say that nothing was looked at."""
    return [note(CHECK, "this version keeps no store of models, so none was checked")]
