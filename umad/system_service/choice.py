"""Finds the service manager of this machine. Not: what it can do (`umad.system_service.status`)."""

import os
import pwd
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from umad.errors import BadConfig, Unsupported
from umad.system_service.launchd import Launchd, Whose, agent_place, daemon_place
from umad.system_service.programs import Run, run_program
from umad.system_service.status import ServiceManager
from umad.system_service.systemd import Systemd, units_folder, with_runtime_folder

# sd_booted(3).
_BOOTED = Path("/run/systemd/system")


def service_manager(
    environ: Mapping[str, str],
    platform: str,
    *,
    for_system: bool = False,
    run: Run | None = None,
    booted: Path | None = None,
) -> ServiceManager:
    """The manager that keeps this user's daemon. for_system: without a login (macOS).

    run: runs the manager's programs, instead of the system's own. booted: the folder that systemd
    makes where it runs. Raises `Unsupported` where the system has none that umad knows, `BadConfig`
    where it cannot be used in this way.
    """
    if platform == "darwin":
        if for_system:
            return Launchd(daemon_place(_behind_sudo(environ)), run or run_program)
        if os.geteuid() == 0 and environ.get("SUDO_USER"):
            raise BadConfig(
                "a LaunchAgent is its user's: without sudo, or with --system for a LaunchDaemon, "
                "which needs no login"
            )
        home = Path(environ.get("HOME") or "~").expanduser()
        return Launchd(agent_place(home, os.getuid()), run or run_program)
    if for_system:
        raise BadConfig(
            "--system is for macOS; on Linux, a user's services run without a login after: "
            "loginctl enable-linger"
        )
    if platform != "linux" or not (booted or _BOOTED).is_dir():
        raise Unsupported(
            "this system runs neither launchd nor systemd: let its own service manager run umad "
            "serve; it may end it with SIGTERM, and start it again where it ended with an error"
        )
    more = with_runtime_folder(environ, os.getuid())
    run = run or partial(run_program, more=more)
    return Systemd(units_folder(environ, run), run)


def _behind_sudo(environ: Mapping[str, str]) -> Whose:
    """The user who called sudo: the daemon is theirs, with their models and their socket."""
    if os.geteuid() != 0:
        raise BadConfig("--system writes to /Library/LaunchDaemons: use sudo umad service …")
    name = environ.get("SUDO_USER", "")
    if not name or name == "root":
        raise BadConfig(
            "--system needs the user whose daemon it is: log in as that user and use sudo, since "
            "umad does not run as root"
        )
    try:
        found = pwd.getpwnam(name)
    except KeyError as error:
        raise BadConfig(f"there is no user {name}") from error
    return Whose(user=name, home=found.pw_dir, uid=found.pw_uid, gid=found.pw_gid)
