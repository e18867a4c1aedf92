"""Tells whether other programs may use the instructions that this machine's processor names.

llama.cpp's own programs and its Python server repack weights without being asked, for instructions
that may not work here. `umad.engine.llamacpp.repack_check` finds that out without dying of it. The
check runs once a process. Not: what is measured. Owner: the process that measures.
"""

import functools
import logging
import os

from umad.engine.llamacpp.processor import has_instruction
from umad.engine.llamacpp.repack_check import Repacking, RepackUnknown, repack_memory

log = logging.getLogger(__name__)


def amx_works() -> bool:
    """AMX does no harm: the engine's own llama.cpp has it and it works, or nobody names it."""
    found = _repacking()
    return found is not None and (found.amx_works or not has_instruction("amx_int8"))


def repack_works() -> bool:
    """Whatever the engine's own llama.cpp would repack for works."""
    found = _repacking()
    return found is not None and found.works


def faults() -> str:
    """What does not work and what follows, in one line; "" where all does."""
    found = _repacking()
    if found is not None and found.works:
        return ""
    reason = "whether repacking works is not known" if found is None else found.fault
    return (
        f"{reason}: llama.cpp's programs are built without AMX, its Python server repacks nothing"
    )


@functools.cache
def _repacking() -> Repacking | None:
    try:
        return repack_memory(os.environ).known()
    except RepackUnknown as error:
        log.warning("it is not known what works here: %s", error)
        return None
