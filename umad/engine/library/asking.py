"""Has a process look at a library, and brings its answer back.

A library of another version may end the process that calls it, and so may its drivers. Such an end
is an answer here: the library is refused. Not: what is looked at
(`umad.engine.llamacpp.library_child`).
"""

import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umad.engine.errand import Errand
from umad.engine.library.accepted import AcceptedLibrary
from umad.engine.library.file_format import file_fault
from umad.errors import BadConfig, UmadError

OPTION = "llama_library"
CHILD = "umad.engine.llamacpp.library_child"
# A look takes a second. Drivers of GPUs may compile their programs at their first start.
LOOK_S = 120.0
_BEGIN = "it was started"


def ask(path: Path, *, within_s: float = LOOK_S) -> AcceptedLibrary:
    """Look at the library now. Raises `BadConfig`, in one line: the library, what was found in it,
    and what is expected.
    """
    fault = file_fault(path, platform=sys.platform, machine=platform.machine())
    if fault:
        raise refused(path, fault)
    doing = _BEGIN

    def on_news(news: Mapping[str, Any]) -> None:
        nonlocal doing
        doing = str(news["doing"])

    try:
        told = Errand(CHILD, {"library": str(path)}).answer(timeout_s=within_s, on_news=on_news)
    except BadConfig as error:
        raise refused(path, error.message) from None
    except UmadError as error:
        # It died, or it hung.
        raise refused(path, f"a process of its own ended while {doing}: {error.message}") from None
    return AcceptedLibrary.of_map(told)


def refused(path: Path, why: str) -> BadConfig:
    """The error for a library that does not fit, in one line whatever the path has in it."""
    shown = str(path) if str(path).isprintable() else repr(str(path))
    return BadConfig(f"{OPTION} {shown} is not used: {' '.join(why.split())}", field=OPTION)
