"""Runs `umad launch AGENT`: starts a coding agent that talks to umad instead of the cloud.

It looks for the gateway and a model first. So it can say at once what is missing; an agent would
keep trying. Then this process becomes the agent. Writes no file.
"""

import http.client
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from umad.cli.agent_files import AGENT_FILES, OTHER_DIALECTS, AgentFile
from umad.cli.agents import AGENTS, KEY_VARIABLE, Agent, Setting, Target, too_small
from umad.cli.commands import DEFAULT_GATEWAY
from umad.cli.connect import call
from umad.cli.printed import printable
from umad.configuration.sources import load
from umad.errors import BadConfig, NoDaemon, UnknownModel, Unsupported
from umad.isolated import absolute_folders
from umad.model_names import KnownModel, resolve

NO_KEY = "umad"
_HEALTH_S = 5.0
_OBEYED_NAME = "the model's name has characters in it that a terminal would obey; rename its file"


def launch(
    agent: str,
    arguments: tuple[str, ...],
    model: str | None,
    url: str | None,
    only_print: bool,
    path: Path | None,
    socket: str | None,
) -> None:
    """Start AGENT against umad, or print what its file needs.

    A gateway that asks for a key gets the one in UMAD_API_KEY.
    """
    if agent in OTHER_DIALECTS:
        raise Unsupported(OTHER_DIALECTS[agent])
    if agent in AGENT_FILES and not only_print:
        raise Unsupported(
            f"{agent} reads its models from {AGENT_FILES[agent].file}; umad launch --print {agent} "
            "prints what to put there"
        )
    key = os.environ.get(KEY_VARIABLE) or NO_KEY
    address = (url or _configured(path)).rstrip("/")
    row = _model(call(socket, lambda client: client.models()), model)
    target = Target(url=address, model=str(row["name"]), key=key, cells=_context(row))
    if agent in AGENT_FILES:
        _print_file(AGENT_FILES[agent], target)
        return
    chosen = AGENTS[agent]
    setting = chosen.setting(target)
    warning = too_small(agent, target, int(row.get("n_ctx_train") or 0))
    if only_print:
        _warn(warning)
        _print(chosen, setting, arguments)
        return
    program = shutil.which(
        chosen.program, path=absolute_folders(os.environ.get("PATH", os.defpath))
    )
    if program is None:
        raise Unsupported(f"{agent} is not installed; {chosen.install} brings it")
    _check_gateway(address)
    _warn(warning)
    sys.stdout.flush()
    os.execve(
        program,
        [chosen.program, *setting.arguments, *arguments],
        environment(setting, os.environ),
    )


def environment(setting: Setting, environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with the agent's variables, and without those that would contradict them."""
    kept = {name: value for name, value in environ.items() if name not in setting.without}
    return {**kept, **setting.variables}


def _configured(path: Path | None) -> str:
    listen = load(environ=os.environ, path=path).settings.http.listen or DEFAULT_GATEWAY
    if listen.startswith("unix:"):
        raise BadConfig(
            f"agents cannot reach a gateway at {listen}; let it listen at HOST:PORT", field="http"
        )
    host, _, port = listen.rpartition(":")
    # A wildcard address is one to listen on, not one to connect to.
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '[::]', '') else host}:{port}"


def _model(rows: Sequence[Mapping[str, Any]], wanted: str | None) -> Mapping[str, Any]:
    """The row of the model to use."""
    if not rows:
        raise UnknownModel("no model is loaded; umad load MODEL loads one")
    if wanted is None:
        return rows[0]
    names = [str(row["name"]) for row in rows]
    found = resolve(wanted, [KnownModel.of_row(row) for row in rows])
    if found is None:
        raise UnknownModel(f"no model {wanted!r} is loaded; there are {', '.join(names)}")
    return rows[names.index(found.name)]


def _context(row: Mapping[str, Any]) -> int:
    """The most tokens of one conversation; 0 where that is not known."""
    return int(row.get("ctx") or 0)


def _check_gateway(url: str) -> None:
    """Raises `NoDaemon` where no gateway answers at `url`, `BadConfig` where it is no address."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is none, a bracket that is not closed
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise BadConfig(
            f"{url} is no address; write one like http://{DEFAULT_GATEWAY}", field="url"
        )
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=_HEALTH_S)
    try:
        connection.request("GET", f"{parts.path}/health")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        raise NoDaemon(
            f"no gateway answers at {url}; umad serve --http {DEFAULT_GATEWAY} has one"
        ) from error
    finally:
        connection.close()


def _warn(warning: str | None) -> None:
    """Say it on stderr: a shell may read stdout."""
    if warning is not None:
        click.echo(f"umad: {printable(warning)}", err=True)


def _print(agent: Agent, setting: Setting, arguments: Sequence[str]) -> None:
    """Print the command as a shell reads it. Raises `Unsupported` for characters a terminal would
    obey.
    """
    texts = (*setting.variables.values(), *setting.arguments, *arguments)
    if not all(text.isprintable() for text in texts):
        raise Unsupported(_OBEYED_NAME)
    for name in setting.without:
        click.echo(f"unset {name}")
    for name, value in setting.variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")
    words = [agent.program, *setting.arguments, *arguments]
    click.echo(shlex.join(words))


def _print_file(file: AgentFile, target: Target) -> None:
    """Print what a program's file needs on stdout, and on stderr where it is and what to do."""
    if not target.model.isprintable():
        raise Unsupported(_OBEYED_NAME)
    click.echo(f"umad: for {file.file}; then {file.then}", err=True)
    click.echo(file.text(target))
