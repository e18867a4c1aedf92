"""Defines what is asked of a service manager, and what it answers. Values and the seam only."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from umad.system_service.job import Job


class ServiceState(enum.Enum):
    """What a service does."""

    # It is not installed.
    ABSENT = "absent"
    # No daemon runs; the first connection starts one.
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    # It ended with an error, and is not started again by itself.
    FAILED = "failed"


# A daemon of this service runs, or comes when somebody connects.
IS_THERE = (
    ServiceState.WAITING,
    ServiceState.STARTING,
    ServiceState.RUNNING,
    ServiceState.STOPPING,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """One service at one moment."""

    state: ServiceState
    # The daemon's process; 0 where none runs.
    pid: int = 0
    restarts: int = 0
    # The daemon's own words, or why it failed; may be empty.
    words: str = ""
    # The service manager listens on the daemon's socket: whoever connects to it starts the daemon.
    listens: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The effect of an installation."""

    # Some file was written anew, or an installation that was interrupted is done now. With no
    # change, nothing was restarted either.
    changed: bool
    # A daemon that ran is ended, with its answers, and started again.
    restarted: bool


class ServiceManager(Protocol):
    """The system's keeper of processes, for umad's one service.

    A call runs programs of the system and waits for their end, bounded. It raises `Unsupported`
    with their own words where they refuse.
    """

    # Its name, for people.
    name: str
    # The file that the daemon has to log to itself; None where the manager keeps its log.
    own_log: Path | None

    def files(self, job: Job) -> Mapping[Path, bytes]:
        """The files that an installation writes."""
        ...

    def command(self) -> Sequence[str]:
        """The daemon's command line as it is installed; empty where umad has installed none."""
        ...

    def environment(self) -> Mapping[str, str]:
        """The daemon's own variables as they are installed; none where umad has installed none."""
        ...

    def install(self, job: Job) -> Installed:
        """Write the files, and let the system start the daemon now and after each login."""
        ...

    def uninstall(self) -> bool:
        """End the daemon and remove the files; False where there were none."""
        ...

    def start(self) -> None:
        """Start the daemon; returns before its models are loaded."""
        ...

    def stop(self) -> None:
        """Let the daemon's answers end, then the daemon, until somebody starts it or logs in.
        Returns when it has ended.
        """
        ...

    def status(self) -> ServiceStatus:
        """The service now."""
        ...

    def log_command(self, lines: int, *, follow: bool) -> Sequence[str]:
        """The command line that prints the last lines of the daemon's log."""
        ...
