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
from umad.system_service.own_files import (
    changed_files,
    present_files,
    remove_files,
    write_files,
)
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

    def command(self) -> Sequence[str]:
        """The command line of the list that is there."""
        named = self._installed().get("ProgramArguments")
        return tuple(map(str, named)) if isinstance(named, list) else ()

    def environment(self) -> Mapping[str, str]:
        """The variables in the list that is there."""
        named = self._installed().get("EnvironmentVariables")
        if not isinstance(named, dict):
            return {}
        return {str(name): str(value) for name, value in named.items()}

    def install(self, job: Job) -> Installed:
        """Write the list, and load it anew where it has changed.

        A changed list is written once the old job is unloaded. So an installation that is
        interrupted while the daemon drains leaves the old list, and the next one finds the change.
        """
        files = self.files(job)
        is_changed = bool(changed_files(files))
        self._make_log_folder()
        is_loaded, ran = self._is_loaded(), self.status().pid > 0
        if is_loaded and is_changed:
            self._boot_out()
        try:
            write_files(files)
        except BadConfig:
            if is_loaded:
                self._boot()
            raise
        if is_changed or not is_loaded:
            self._boot()
        return Installed(changed=is_changed, restarted=ran and is_changed)

    def uninstall(self) -> bool:
        """End the daemon, and remove the list."""
        # Before anything is stopped: the list is umad's own.
        present_files([self._place.plist])
        if self._is_loaded():
            self._boot_out()
        return remove_files([self._place.plist])

    def start(self) -> None:
        """Load the list where a stop or another program has unloaded it, and start the job."""
        if not self._place.plist.is_file():
            raise BadConfig("umad is not a service yet: umad service install")
        if not self._is_loaded():
            self._boot()  # which starts it (RunAtLoad)
        elif not self.status().pid:
            self._ask("kickstart", self._target)

    def stop(self) -> None:
        """Unload the job, until a start or the next login loads it again.

        To signal the daemon would not do: a second stop would be its second signal, which cuts its
        answers off and is a bad end, after which launchd starts it again.
        """
        if self._is_loaded():
            self._boot_out()

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

    def _installed(self) -> Mapping[str, object]:
        """The keys of the list that is there; none where it cannot be read."""
        try:
            keys = plistlib.loads(self._place.plist.read_bytes())
        except (OSError, ValueError, ExpatError):
            return {}
        return keys if isinstance(keys, dict) else {}

    def _longest_end_s(self) -> float:
        """How long the daemon that is installed may take to end, by its own list."""
        named = self._installed().get("ExitTimeOut")
        return _BEYOND_END_S + (named if isinstance(named, int) else _USUAL_END_S)

    def _boot_out(self) -> None:
        """Unload the job. Its daemon gets SIGTERM, and this waits for its end."""
        within_s = self._longest_end_s()
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
