"""Runs a program of the system, such as systemctl. Not: knowing what it is for."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from umad.errors import Unsupported

# Longer than any answer takes that waits for no daemon.
LONGEST_S = 180.0
# A stop waits for the daemon's end, which systemd bounds by the unit (TimeoutStopSec). A drain may
# last a day.
LONGEST_STOP_S = 86_400.0 + LONGEST_S
_STOPS = frozenset({"stop", "disable", "bootout"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A program that has ended."""

    code: int
    out: str = ""
    err: str = ""

    @property
    def last_words(self) -> str:
        """The last line it wrote, stderr first; its exit code where it wrote none."""
        lines = [one for one in (*self.out.splitlines(), *self.err.splitlines()) if one.strip()]
        return lines[-1].strip() if lines else f"exit code {self.code}"


_PLAIN = {"LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}

# Runs a command line to its end. Raises `Unsupported` where there is no such program, or no end.
Run = Callable[[Sequence[str]], Ran]


def run_program(words: Sequence[str], *, more: Mapping[str, str] | None = None) -> Ran:
    """Run a program of the system with this process's environment and `more`, in English."""
    longest_s = LONGEST_S if _STOPS.isdisjoint(words) else LONGEST_STOP_S
    try:
        done = subprocess.run(
            list(words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            # Its words are read.
            env={**os.environ, **(more or {}), **_PLAIN},
            timeout=longest_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise Unsupported(
            f"this system has no {words[0]}: run umad serve under its own service manager"
        ) from error
    except OSError as error:
        raise Unsupported(f"{words[0]} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise Unsupported(f"{' '.join(words)} did not end within {longest_s:.0f} s") from error
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)


def checked(ran: Ran, words: Sequence[str]) -> Ran:
    """`ran`, if it ended well. Raises `Unsupported` with its own words."""
    if ran.code != 0:
        raise Unsupported(f"{' '.join(words)}: {ran.last_words}")
    return ran


def tail(path: Path, lines: int, *, follow: bool) -> list[str]:
    """The command line that prints the last lines of a log file of the daemon.

    The file is emptied when it is full, which -F notices.
    """
    return ["tail", "-n", str(lines), *(["-F"] if follow else []), str(path)]
