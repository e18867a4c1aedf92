"""Carries out requests to umad's service by systemctl, in the user's own service manager.

The socket is what is started: systemd listens on it from the login on, and starts the daemon at the
first connection. A restart keeps the socket, so clients wait and see no error.
Not: the units (`umad.system_service.systemd_units`). State: systemd's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from umad.errors import Unsupported
from umad.system_service.job import Job
from umad.system_service.own_files import (
    MARK,
    changed_files,
    present_files,
    remove_files,
    write_files,
)
from umad.system_service.programs import Ran, Run, checked
from umad.system_service.status import Installed, ServiceState, ServiceStatus
from umad.system_service.systemd_units import (
    SERVICE,
    SOCKET,
    command_of,
    environment_of,
    units,
)

_SYSTEMCTL = ("systemctl", "--user")
_FACTS = (
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "MainPID",
    "NRestarts",
    "StatusText",
    "NeedDaemonReload",
)
# No name of a unit, so systemd does not read it.
_BEGUN = "umad.begun"
_STATES = {
    "active": ServiceState.RUNNING,
    "reloading": ServiceState.RUNNING,
    "activating": ServiceState.STARTING,
    "deactivating": ServiceState.STOPPING,
    "failed": ServiceState.FAILED,
}


def units_folder(environ: Mapping[str, str], run: Run | None = None) -> Path:
    """The folder of the user's own units (systemd.unit(5)).

    run: asks systemd whether it looks there. It knows no variable that only a shell's own files
    set, and would find no unit in the folder that such a variable names.
    """
    usual = Path(environ.get("HOME") or "~").expanduser() / ".config" / "systemd" / "user"
    base = Path(environ.get("XDG_CONFIG_HOME", ""))
    own = base / "systemd" / "user"
    if not base.is_absolute() or own == usual:
        return usual
    if run is not None:
        # A list of paths, with spaces between them.
        ran = run((*_SYSTEMCTL, "show", "--property=UnitPath"))
        known = f" {ran.out.partition('=')[2].strip()} "
        if ran.code == 0 and f" {own} " not in known and f" {usual} " in known:
            return usual
    return own


class Systemd:
    """The user's own systemd."""

    name = "systemd"

    def __init__(self, folder: Path, run: Run) -> None:
        """folder: where units lie. run: runs systemctl."""
        # The journal has it.
        self.own_log: Path | None = None
        self._folder = folder
        self._run = run

    def files(self, job: Job) -> Mapping[Path, bytes]:
        """The two units."""
        return {self._folder / name: text.encode() for name, text in units(job).items()}

    def command(self) -> Sequence[str]:
        """The command line of the unit that is there."""
        return command_of(self._unit())

    def environment(self) -> Mapping[str, str]:
        """The variables in the unit that is there."""
        return environment_of(self._unit())

    def install(self, job: Job) -> Installed:
        """Write the units, reload what changed, and restart a daemon that ran, once.

        An installation may be interrupted anywhere. What it has begun to change stands in a list
        beside the units until all is done, so the next one finds it, and does it again.
        """
        # Before anything is written: systemd answers.
        undone = {unit for unit in (SOCKET, SERVICE) if self._is_unread(unit)} | self._begun()
        ran = self.status().state in (ServiceState.RUNNING, ServiceState.STARTING)
        files = self.files(job)
        written = undone | {path.name for path in changed_files(files)}
        if written:
            write_files({self._folder / _BEGUN: _list_of(written)})
            write_files(files)
            self._ask("daemon-reload")
        if SOCKET in written:
            # It may listen elsewhere now. The service goes with it.
            self._ask("stop", SOCKET, SERVICE)
        self._ask("enable", "--quiet", SOCKET)
        # With no [Install] the service has no link to be made, and an earlier one may be there.
        self._ask("reenable" if job.at_login else "disable", "--quiet", SERVICE)
        self._ask("reset-failed", SOCKET, SERVICE, may_fail=True)
        self._ask("start", SOCKET)
        if ran and written:
            self._ask("--no-block", "restart", SERVICE)
        elif job.at_login:
            self._ask("--no-block", "start", SERVICE)
        remove_files([self._folder / _BEGUN])
        return Installed(changed=bool(written), restarted=ran and bool(written))

    def uninstall(self) -> bool:
        """Stop and disable both units, and remove them."""
        paths = [self._folder / name for name in (SOCKET, SERVICE, _BEGUN)]
        # Before anything is stopped: the units are umad's own.
        if not present_files(paths):
            return False
        self._ask("disable", "--now", "--quiet", SOCKET, SERVICE, may_fail=True)
        removed = remove_files(paths)
        self._ask("daemon-reload", may_fail=True)
        self._ask("reset-failed", SOCKET, SERVICE, may_fail=True)
        return removed

    def start(self) -> None:
        """Listen, and start the daemon without waiting for its models."""
        self._ask("reset-failed", SOCKET, SERVICE, may_fail=True)
        self._ask("start", SOCKET)
        self._ask("--no-block", "start", SERVICE)

    def stop(self) -> None:
        """Stop listening, too: the next connection would start the daemon again."""
        self._ask("stop", SOCKET, SERVICE)

    def status(self) -> ServiceStatus:
        """Both units as one."""
        if not (self._folder / SERVICE).is_file():
            return ServiceStatus(state=ServiceState.ABSENT)
        return status_of(self._facts(SERVICE), self._facts(SOCKET))

    def log_command(self, lines: int, *, follow: bool) -> Sequence[str]:
        """The journal keeps the log, and bounds it. It finds a user's lines in either journal."""
        more = ("--follow",) if follow else ("--no-pager",)
        return ("journalctl", f"--user-unit={SERVICE}", f"--lines={lines}", *more)

    def _begun(self) -> set[str]:
        """The units that an installation has begun to change, and has not come to its end."""
        path = self._folder / _BEGUN
        if not present_files([path]):
            return set()
        return {SOCKET, SERVICE} & set(path.read_text("utf-8", "replace").split())

    def _unit(self) -> str:
        """The service's unit that is there; "" where none can be read."""
        try:
            return (self._folder / SERVICE).read_text("utf-8", "replace")
        except OSError:
            return ""

    def _facts(self, unit: str) -> Mapping[str, str]:
        ran = self._ask("show", f"--property={','.join(_FACTS)}", unit)
        pairs = (line.partition("=") for line in ran.out.splitlines())
        return {name: value for name, _, value in pairs}

    def _is_unread(self, unit: str) -> bool:
        return self._facts(unit).get("NeedDaemonReload") == "yes"

    def _ask(self, *words: str, may_fail: bool = False) -> Ran:
        line = (*_SYSTEMCTL, *words)
        ran = self._run(line)
        if "Failed to connect to" in ran.err:
            raise Unsupported(
                f"the user's own systemd does not answer: {ran.last_words}; log in at the machine "
                "or by ssh, or let it run without a login: loginctl enable-linger"
            )
        return ran if may_fail else checked(ran, line)


def _list_of(units_: set[str]) -> bytes:
    """The list of the units that an installation begins to change."""
    head = f"# Written by {MARK.decode()}, which was interrupted: run it once more.\n"
    return (head + "".join(f"{unit}\n" for unit in sorted(units_))).encode()


def status_of(service: Mapping[str, str], socket: Mapping[str, str]) -> ServiceStatus:
    """The state of the service from what `systemctl show` says of both units."""
    state = _STATES.get(service.get("ActiveState", ""), ServiceState.STOPPED)
    listens = socket.get("ActiveState") == "active"
    if service.get("LoadState") == "not-found":
        state = ServiceState.ABSENT
    elif state is ServiceState.STOPPED and listens:
        state = ServiceState.WAITING
    elif state is ServiceState.STOPPED and socket.get("ActiveState") == "failed":
        state = ServiceState.FAILED
    words = service.get("StatusText", "")
    if state is ServiceState.FAILED:
        results = (one.get("Result", "") for one in (service, socket))
        words = next((one for one in results if one not in ("", "success")), "failed")
    return ServiceStatus(
        state=state,
        pid=_number(service.get("MainPID")),
        restarts=_number(service.get("NRestarts")),
        words=words,
        listens=listens,
    )


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


def with_runtime_folder(environ: Mapping[str, str], uid: int) -> dict[str, str]:
    """Variables that lead systemctl to the user's manager, which cron, su and sudo leave out."""
    folder = Path(f"/run/user/{uid}")
    if environ.get("XDG_RUNTIME_DIR") or not folder.is_dir():
        return {}
    return {"XDG_RUNTIME_DIR": str(folder)}
