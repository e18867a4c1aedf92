"""Carries out requests to umad's service by launchctl: a user's LaunchAgent, or a LaunchDaemon.

Written from launchctl(1) and launchd.plist(5). It has not been run on macOS yet.
Not: the property list (`umad.system_service.launchd_plist`). State: launchd's.
"""

import os
import plistlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.parsers.expat import ExpatError

from umad.errors import BadConfig, Unsupported
from umad.private_file import own_folder
from umad.system_service.job import Job
from umad.system_service.launchd_plist import LABEL, property_list
from umad.system_service.own_files import remove_files, write_files
from umad.system_service.programs import Ran, Run, checked, tail
from umad.system_service.status import Installed, ServiceState, ServiceStatus

_LAUNCHCTL = "launchctl"
# `bootout` may return before the job has ended.
_POLL_S = 0.2
# launchd's own bound where a list names none, and its time to kill and to tidy up.
_USUAL_END_S, _BEYOND_END_S = 20.0, 5.0
# What `launchctl print` writes is for people. Only these lines are looked for, and each may be
# missing.
_PID = re.compile(r"^\s*pid = (\d+)\s*$", re.MULTILINE)
_RUNS = re.compile(r"^\s*runs = (\d+)\s*$", re.MULTILINE)
_EXIT = re.compile(r"^\s*last exit code = (\d+)", re.MULTILINE)
_SIGNAL = re.compile(r"^\s*last terminating signal = (.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """The user for whom a LaunchDaemon runs, since the one who installs it is root."""

    user: str
    home: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where launchd looks for a job, and in which of its domains the job lives."""

    plist: Path
    # `gui/UID` or `system`.
    domain: str
    log: Path
    # None for a LaunchAgent.
    whose: Whose | None = None


def agent_place(home: Path, uid: int) -> Place:
    """The place of a user's LaunchAgent."""
    return Place(
        plist=home / "Library" / "LaunchAgents" / f"{LABEL}.plist",
        domain=f"gui/{uid}",
        log=home / "Library" / "Logs" / "umad" / "umad.log",
    )


def daemon_place(whose: Whose) -> Place:
    """The place of a LaunchDaemon, which runs without a login."""
    return Place(
        plist=Path("/Library/LaunchDaemons") / f"{LABEL}.plist",
        domain="system",
        log=Path(whose.home) / "Library" / "Logs" / "umad" / "umad.log",
        whose=whose,
    )


class Launchd:
    """One domain of launchd."""

    name = "launchd"

    def __init__(
        self, place: Place, run: Run, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """run: runs launchctl. pause: waits so many seconds."""
        self.own_log: Path | None = place.log
        self._place = place
        self._run = run
        self._pause = pause
        self._target = f"{place.domain}/{LABEL}"

    def files(self, job: Job) -> Mapping[Path, bytes]:
        """The property list."""
        whose = self._place.whose
        data = property_list(
            job,
            log=str(self._place.log),
            user=None if whose is None else whose.user,
            home=None if whose is None else whose.home,
        )
        return {self._place.plist: data}

    def install(self, job: Job) -> Installed:
        """Write the list, and load it anew where it has changed."""
        self._make_log_folder()
        end_s = self._longest_end_s()
        written = bool(write_files(self.files(job)))
        is_loaded, ran = self._is_loaded(), self.status().pid > 0
        if is_loaded and written:
            self._boot_out(end_s)
        if written or not is_loaded:
            self._boot()
        return Installed(changed=written, restarted=ran and written)

    def uninstall(self) -> bool:
        """End the daemon, and remove the list."""
        if self._is_loaded():
            self._boot_out(self._longest_end_s())
        return remove_files([self._place.plist])

    def start(self) -> None:
        """Load the list where a stop or another program has unloaded it, and start the job."""
        if not self._place.plist.is_file():
            raise BadConfig("umad is not a service yet: umad service install")
        if not self._is_loaded():
            self._boot()
        self._ask("kickstart", self._target)

    def stop(self) -> None:
        """Ask the daemon to end. That is a good end, so launchd leaves it at that."""
        if self.status().pid:
            self._ask("kill", "SIGTERM", self._target)

    def status(self) -> ServiceStatus:
        """The job as launchd has it."""
        if not self._place.plist.is_file():
            return ServiceStatus(state=ServiceState.ABSENT)
        ran = self._run((_LAUNCHCTL, "print", self._target))
        return status_of(ran.out) if ran.code == 0 else ServiceStatus(state=ServiceState.STOPPED)

    def log_command(self, lines: int, *, follow: bool) -> Sequence[str]:
        """The daemon's own file."""
        return tail(self._place.log, lines, follow=follow)

    def _is_loaded(self) -> bool:
        return self._run((_LAUNCHCTL, "print", self._target)).code == 0

    def _boot(self) -> None:
        # A job that somebody has disabled cannot be loaded.
        self._ask("enable", self._target)
        self._ask("bootstrap", self._place.domain, str(self._place.plist))

    def _longest_end_s(self) -> float:
        """How long the daemon that is installed may take to end, by its own list."""
        try:
            keys = plistlib.loads(self._place.plist.read_bytes())
        except (OSError, ValueError, ExpatError):
            keys = None
        named = keys.get("ExitTimeOut") if isinstance(keys, dict) else None
        return _BEYOND_END_S + (named if isinstance(named, int) else _USUAL_END_S)

    def _boot_out(self, within_s: float) -> None:
        """Unload the job. Its daemon gets SIGTERM, and this waits for its end."""
        # Its exit code says "in progress" while the daemon still drains.
        ran = self._run((_LAUNCHCTL, "bootout", self._target))
        waited_s = 0.0
        while self._is_loaded():
            if waited_s >= within_s:
                raise Unsupported(f"launchd does not let go of {self._target}: {ran.last_words}")
            self._pause(_POLL_S)
            waited_s += _POLL_S

    def _ask(self, *words: str) -> Ran:
        line = (_LAUNCHCTL, *words)
        return checked(self._run(line), line)

    def _make_log_folder(self) -> None:
        folder, whose = self._place.log.parent, self._place.whose
        if folder.exists():
            return
        try:
            own_folder(folder)
            if whose is not None:
                os.chown(folder, whose.uid, whose.gid)
        except OSError as error:
            raise BadConfig(f"{folder} cannot be made: {error.strerror}") from error


def status_of(text: str) -> ServiceStatus:
    """The state of a job from what `launchctl print` says of it."""
    pid, runs, code = _first(_PID, text), _first(_RUNS, text), _first(_EXIT, text)
    restarts = max(0, runs - 1)
    if pid:
        return ServiceStatus(state=ServiceState.RUNNING, pid=pid, restarts=restarts)
    signal = _SIGNAL.search(text)
    if code or signal:
        why = f"exit code {code}" if code else f"signal {signal[1] if signal else ''}"
        return ServiceStatus(state=ServiceState.FAILED, restarts=restarts, words=why)
    return ServiceStatus(state=ServiceState.STOPPED, restarts=restarts)


def _first(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.search(text)
    return 0 if found is None else int(found[1])
