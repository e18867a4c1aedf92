"""Defines the daemon that a service manager is to keep running, as values. Pure.

A service does not have the shell's variables. So whatever decides where models and the socket lie
is written into the job when it is made, and options come from the configuration file. An upgrade
may come from another shell: it keeps what is written. Secrets are never written.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from umad.config import Settings
from umad.errors import BadConfig
from umad.isolated import python_module
from umad.version import __version__

# Places of models, of libraries, of the socket and of what umad remembers: without them the service
# would find other ones.
_PATHS = (
    "UMAD_MODELS",
    "UMAD_SOCKET",
    "HF_HOME",
    "HF_HUB_CACHE",
    "LLAMA_CACHE",
    "OLLAMA_MODELS",
)
CARRIED = (
    *_PATHS,
    "HF_HUB_OFFLINE",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    # Where `llama_library` looks (`umad.engine.library`).
    "LLAMA_CPP_LIB_PATH",
    "GGML_BACKEND_PATH",
    "HOMEBREW_PREFIX",
)
# Before the path of a socket that HTTP is served on.
_UNIX = "unix:"
# A new version writes a new job, and so is started in place of the old one.
VERSION_VARIABLE = "UMAD_SERVICE_VERSION"
# Flags of `umad service install` have taken over what these say, or only other commands read them.
_KNOWN = ("UMAD_CONFIG", "UMAD_SOCKET_OWNER", "UMAD_API_KEY", VERSION_VARIABLE)
# Beyond the drain: cancelled requests, goodbyes, the gateway and the engines
# (`umad.daemon.server`).
_BEYOND_DRAIN_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One daemon for one user."""

    # The whole command line of `umad serve`; its first word is an absolute path.
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    # The absolute path of the socket that was named; None for the user's own place.
    socket: str | None = None
    # Start at the login, and not at the first connection: HTTP clients make none to the socket.
    at_login: bool = False
    # The longest time that the daemon takes to end by itself.
    stop_s: float = 50.0


def make_job(
    settings: Settings,
    *,
    umad: Sequence[str],
    environ: Mapping[str, str],
    config: Path | None = None,
    http: str | None = None,
    log: Path | None = None,
) -> Job:
    """The job of a daemon with these `settings`.

    umad: the command line of umad itself. environ: the shell's variables, with `kept_variables`.
    config, http: as the flags have them. log: the file that the daemon writes to itself, where the
    system keeps no log.
    """
    command = [*umad, "serve"]
    if config is not None:
        command.append(f"--config={config.expanduser().absolute()}")
    socket = None
    if settings.socket is not None:
        socket = str(Path(settings.socket).expanduser().absolute())
        command.append(f"--socket={socket}")
    if http is not None:
        command.append(f"--http={_absolute_address(http)}")
    if log is not None and settings.logging.file is None:
        command.append(f"--logging-file={log}")
    carried = {name: _carried(name, environ[name]) for name in CARRIED if environ.get(name)}
    job = Job(
        command=tuple(command),
        environment={**carried, VERSION_VARIABLE: __version__},
        socket=socket,
        at_login=settings.http.listen is not None,
        stop_s=settings.limits.drain_s + _BEYOND_DRAIN_S,
    )
    for text in (*job.command, *job.environment.values()):
        _check_word(text)
    return job


def kept_variables(shell: Mapping[str, str], installed: Mapping[str, str]) -> dict[str, str]:
    """The variables that an earlier installation was told and this shell does not have. One that
    the shell has and that is empty takes the earlier one away.
    """
    return {name: installed[name] for name in CARRIED if installed.get(name) and name not in shell}


def flag_of(command: Sequence[str], flag: str) -> str | None:
    """The value of a flag in a job's command line, such as `--http`; None where it is not there."""
    values = (one.partition("=")[2] for one in command if one.startswith(f"{flag}="))
    return next(values, None)


def _absolute_address(http: str) -> str:
    """The address, in which a socket's path does not depend on the working folder."""
    if not http.startswith(_UNIX):
        return http
    return f"{_UNIX}{Path(http.removeprefix(_UNIX)).expanduser().absolute()}"


def _carried(name: str, value: str) -> str:
    """The value as it means the same in another working folder."""
    return os.path.abspath(os.path.expanduser(value)) if name in _PATHS else value


def _check_word(text: str) -> None:
    """Raise `BadConfig` for a word that a unit or a property list cannot hold."""
    if any(ord(one) < 32 or one in "\x7f\ufffe\uffff" for one in text):
        raise BadConfig(f"a service's command takes no control characters: {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # Python keeps bytes of another encoding as surrogates
        raise BadConfig(f"a service's command takes UTF-8 only: {text!r}") from error


def left_behind(environ: Mapping[str, str], options: Mapping[str, str]) -> list[str]:
    """The options that this shell's variables set and a service does not have, as
    `UMAD_CTX_SIZE (ctx_size)`. options: the option's name by its variable.
    """
    return sorted(
        f"{name} ({options[name]})"
        for name, value in environ.items()
        if value and name in options and name not in (*CARRIED, *_KNOWN)
    )


def umad_command(argv0: str, path: str | None) -> list[str]:
    """The command line that starts umad, absolute. argv0: how this process was called; path: PATH.

    The script `umad` keeps its place when umad is upgraded (Homebrew's and uv's are links), and the
    interpreter behind it may not. So a link is not followed.
    """
    if Path(argv0).name == "umad":
        found = shutil.which(argv0, path=path)
        if found is not None:
            return [str(Path(found).absolute())]
    return python_module("umad")
