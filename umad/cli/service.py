"""Runs `umad service`: makes the job of this user's daemon, and hands it to the service manager.

Not: what a service manager is told (`umad.system_service`), nor the daemon.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from umad.cli.printed import printable
from umad.config import Settings
from umad.configuration.options import OPTIONS
from umad.configuration.sources import load
from umad.daemon.socket_places import refuse_other_daemon
from umad.errors import BadConfig
from umad.exit_codes import DONE, FAILED, NO_DAEMON
from umad.gateway.door.check import check_door
from umad.socket_path import check_socket_path
from umad.system_service.choice import service_manager
from umad.system_service.job import (
    CARRIED,
    Job,
    flag_of,
    kept_variables,
    left_behind,
    make_job,
    umad_command,
)
from umad.system_service.programs import tail
from umad.system_service.status import IS_THERE, ServiceManager, ServiceState

# A drain of the user's own length is not known to root. The daemon ends by itself, so this is only
# the bound for one that hangs.
_SYSTEM_STOP_S = 120.0
_NO_FILE = Path(os.devnull)
_WORDS = {
    ServiceState.ABSENT: "umad is no service of this system: umad service install",
    ServiceState.WAITING: "no daemon runs; the first connection starts one",
    ServiceState.STARTING: "the daemon starts",
    ServiceState.RUNNING: "the daemon runs",
    ServiceState.STOPPING: "the daemon ends, once its answers have ended",
    ServiceState.STOPPED: "it is stopped: umad service start",
    ServiceState.FAILED: "it has failed: umad service logs says why",
}


def install(http: str | None, path: Path | None, *, dry_run: bool, for_system: bool) -> None:
    """Install, or bring to this version. What an earlier installation was told goes on to hold."""
    manager = _manager(for_system=for_system)
    http, path = _told(manager, http, path)
    kept = kept_variables(os.environ, manager.environment())
    for name, value in kept.items():
        _say_kept(f"{name}={value}", f"{name}=VALUE umad service install")
    environ = {**os.environ, **kept}
    settings, job = _job(manager, environ, http, path, for_system=for_system)
    if dry_run:
        for file, data in manager.files(job).items():
            click.echo(f"# {printable(str(file))}")
            click.echo(data.decode())
        return
    _refuse_other(manager, settings)
    for one in left_behind(os.environ, _variables()):
        click.echo(
            f"umad: the service does not have this shell's {printable(one)}: "
            "write it into the configuration",
            err=True,
        )
    before = manager.status().state
    done = manager.install(job)
    if not done.changed and before in IS_THERE:
        click.echo(f"umad is a service of {manager.name} already, and nothing has changed")
    elif not done.changed:
        click.echo(f"umad is a service of {manager.name} already, and is started again")
    elif done.restarted:
        click.echo(f"umad is a service of {manager.name}; its daemon is restarted once")
    else:
        click.echo(f"umad is a service of {manager.name}")
    click.echo(_WORDS[manager.status().state])


def uninstall(*, for_system: bool) -> None:
    """Remove the service."""
    manager = _manager(for_system=for_system)
    removed = manager.uninstall()
    click.echo(
        f"umad is no service of {manager.name} any more" if removed else "there was no service"
    )


def start(*, for_system: bool) -> None:
    """Start it. Raises `BadConfig` where there is none."""
    manager = _installed(for_system=for_system)
    _refuse_other(manager, _settings_of(manager, for_system=for_system))
    manager.start()
    click.echo("umad starts; umad service status says when it is ready")


def stop(*, for_system: bool) -> None:
    """Stop it. Raises `BadConfig` where there is none."""
    _installed(for_system=for_system).stop()
    click.echo("umad is stopped, until umad service start or the next login")


def status(*, for_system: bool, as_json: bool) -> int:
    """Print the state; return the exit code that says it."""
    manager = _manager(for_system=for_system)
    now = manager.status()
    if as_json:
        row = {
            "manager": manager.name,
            "state": now.state.value,
            "pid": now.pid or None,
            "restarts": now.restarts,
            "words": now.words or None,
        }
        click.echo(json.dumps(row))
    else:
        click.echo(f"{now.state.value}: {_WORDS[now.state]}")
        if now.pid:
            times = "once" if now.restarts == 1 else f"{now.restarts} times"
            click.echo(f"pid {now.pid}{f', restarted {times}' if now.restarts else ''}")
        if now.words:
            click.echo(printable(now.words))
    if now.state is ServiceState.FAILED:
        return FAILED
    return DONE if now.state in IS_THERE else NO_DAEMON


def logs(lines: int, *, follow: bool, for_system: bool) -> None:
    """Become the program that prints the log."""
    manager = _installed(for_system=for_system)
    # Where the configuration leads the log into a file, the system's own has none of it.
    own = None if for_system else _settings_of(manager, for_system=False).logging.file
    command = list(manager.log_command(lines, follow=follow))
    if own is not None:
        command = tail(Path(own).expanduser(), lines, follow=follow)
    sys.stdout.flush()
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise BadConfig(f"{command[0]} cannot be run: {error.strerror}") from error


def _manager(*, for_system: bool) -> ServiceManager:
    return service_manager(os.environ, sys.platform, for_system=for_system)


def _installed(*, for_system: bool) -> ServiceManager:
    manager = _manager(for_system=for_system)
    if manager.status().state is ServiceState.ABSENT:
        raise BadConfig(_WORDS[ServiceState.ABSENT])
    return manager


def _variables() -> Mapping[str, str]:
    """Names of options by the variables that set them."""
    return {name: one.name for one in OPTIONS for name in one.variables}


def _settings(
    environ: Mapping[str, str],
    flags: Mapping[str, str | None],
    path: Path | None,
    *,
    for_system: bool,
) -> Settings:
    """The settings that a daemon of the service has, as far as they are known here.

    environ: the variables of its job, among others that it does not have.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if for_system:
        # Root does not read a user's file. The daemon does, when it starts as that user.
        return load(environ={}, flags=given, path=_NO_FILE).settings
    has = {name: environ[name] for name in (*CARRIED, "HOME") if name in environ}
    return load(environ=has, flags=given, path=path).settings


def _settings_of(manager: ServiceManager, *, for_system: bool) -> Settings:
    """The settings of the service as it is installed, whatever this shell's variables say."""
    command = manager.command()
    path = flag_of(command, "--config")
    environ = dict(manager.environment())
    if "HOME" in os.environ:  # a job for this user has none of its own
        environ.setdefault("HOME", os.environ["HOME"])
    return _settings(
        environ,
        {name: flag_of(command, f"--{name}") for name in ("http", "socket")},
        None if path is None else Path(path),
        for_system=for_system,
    )


def _told(
    manager: ServiceManager, http: str | None, path: Path | None
) -> tuple[str | None, Path | None]:
    """Flags, those that are not given as they are installed: an upgrade repeats none of them."""
    command = manager.command()
    if http is None and (kept := flag_of(command, "--http")) is not None:
        http = kept
        if kept != "off":
            _say_kept(f"--http {kept}", "--http off")
    if path is None and not os.environ.get("UMAD_CONFIG"):
        kept = flag_of(command, "--config")
        if kept is not None:
            path = Path(kept)
            _say_kept(f"--config {kept}", "--config FILE")
    return http, path


def _say_kept(kept: str, other: str) -> None:
    click.echo(f"umad: {printable(kept)} is kept as it is installed; {other} changes it", err=True)


def _job(
    manager: ServiceManager,
    environ: Mapping[str, str],
    http: str | None,
    path: Path | None,
    *,
    for_system: bool,
) -> tuple[Settings, Job]:
    """The job, checked now and not at the next login."""
    named = environ.get("UMAD_CONFIG")
    path = path or (Path(named) if named else None)
    settings = _settings(environ, {"http": http}, path, for_system=for_system)
    check_door(settings.http)
    job = make_job(
        settings,
        umad=umad_command(sys.argv[0], os.environ.get("PATH")),
        environ=environ,
        config=path,
        http=http,
        log=manager.own_log,
    )
    if job.socket is not None:
        check_socket_path(job.socket, sys.platform)
    return settings, replace(job, stop_s=_SYSTEM_STOP_S) if for_system else job


def _refuse_other(manager: ServiceManager, settings: Settings) -> None:
    """Raise `AlreadyRunning` where a daemon runs that is not the service's: the socket is one."""
    now = manager.status()
    # Where a service has failed, its manager may listen still, and no daemon of its own runs.
    if now.state in IS_THERE or now.listens:
        return
    # The settings have the socket that the service was told of; this shell may have another one.
    environ = {name: value for name, value in os.environ.items() if name != "UMAD_SOCKET"}
    refuse_other_daemon(settings.socket, environ, sys.platform)
