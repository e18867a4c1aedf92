"""Runs a program of the system, such as systemctl. Not: knowing what it is for."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from umad.errors import Unsupported

# Longer than any daemon takes to end (`umad.system_service.job`): a stop waits for it.
LONGEST_S = 180.0


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
    try:
        done = subprocess.run(
            list(words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            # Its words are read.
            env={**os.environ, **(more or {}), **_PLAIN},
            timeout=LONGEST_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise Unsupported(
            f"this system has no {words[0]}: run umad serve under its own service manager"
        ) from error
    except OSError as error:
        raise Unsupported(f"{words[0]} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise Unsupported(f"{' '.join(words)} did not end within {LONGEST_S:.0f} s") from error
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)


def checked(ran: Ran, words: Sequence[str]) -> Ran:
    """`ran`, if it ended well. Raises `Unsupported` with its own words."""
    if ran.code != 0:
        raise Unsupported(f"{' '.join(words)}: {ran.last_words}")
    return ran
