"""Starts HAProxy, so that it outlives whoever started it, and ends it.

HAProxy puts itself into the background (`-D`), in a session of its own: it goes on carrying streams
when the router's own process ends, whatever it ends of. So it is found again by its admin socket
and not by a process id in a file, which may be another program's by then.
Blocks: some tenths of a second, and never more than `_BOUND_S`. Owner: the caller's thread.
"""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

from umad.errors import BadConfig, ProxyFailed

# Bodies that are waited for, JSON that is looked into, servers that join with their checks.
_OLDEST: Final = (2, 6)
# A check and a start read some files of certificates.
_BOUND_S = 30.0
_MOST_SAID = 500


def find_haproxy() -> str:
    """The program. Raises ProxyFailed where there is none, or one that is too old."""
    path = shutil.which("haproxy")
    if path is None:
        raise ProxyFailed("haproxy is not installed: apt install haproxy, or brew install haproxy")
    said = _run([path, "-v"]).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST:
        raise ProxyFailed(
            f"{path} is no HAProxy of version {_OLDEST[0]}.{_OLDEST[1]} or later: {said[:80]!r}"
        )
    return path


def check(program: str, config: Path) -> None:
    """Raises BadConfig with HAProxy's words where it would not start with this file."""
    checked = _run([program, "-c", "-f", str(config)])
    if checked.returncode:
        raise BadConfig(f"HAProxy does not take {config}: {_alert(checked.stderr)}")


def begin(program: str, config: Path) -> None:
    """Start HAProxy in the background; it listens when this returns. Raises ProxyFailed with its
    words where it did not start: an address that is taken, too few files."""
    started = _run([program, "-D", "-f", str(config)])
    if started.returncode:
        raise ProxyFailed(f"HAProxy does not start: {_alert(started.stderr)}")


def end(pid: int, *, at_once: bool = False) -> None:
    """End HAProxy: it takes nobody new, and streams that run may end (SIGUSR1).

    at_once: streams are cut. pid: as HAProxy itself said on its admin socket, a moment ago.
    """
    try:
        os.kill(pid, signal.SIGTERM if at_once else signal.SIGUSR1)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise ProxyFailed(f"HAProxy (process {pid}) belongs to another user") from None


def _run(words: list[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_BOUND_S,
            check=False,
            # A Ctrl-C at the router's terminal is not HAProxy's.
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise ProxyFailed(f"{words[0]} did not end within {_BOUND_S:g} s") from None
    except OSError as error:
        raise ProxyFailed(f"{words[0]} cannot be run: {error.strerror}") from error


def _alert(said: str) -> str:
    """What HAProxy says is wrong: its first alert, or all that it said."""
    alerts = [line for line in said.splitlines() if line.startswith("[ALERT]")]
    told = alerts[0].partition(" : ")[2] if alerts else said.strip()
    return told[:_MOST_SAID] or "it said nothing"
