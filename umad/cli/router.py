"""Runs `umad router`: its folder, its nodes, its process, and what people ask of it.

Not: the router (`umad.router`). None of this needs a daemon.
"""

import asyncio
import contextlib
import datetime
import json
import os
import shlex
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from umad.cli.printed import printable
from umad.cli.tables import open_console, plain_table
from umad.errors import AlreadyRunning, BadConfig, BadRequest, ProxyFailed
from umad.exit_codes import DONE, FAILED, NO_DAEMON
from umad.private_file import read_named, write_own
from umad.router.folder import (
    RouterFolder,
    default_folder,
    open_folder,
    settings_of,
    team_authority,
)
from umad.router.haproxy import commands, process
from umad.router.haproxy.admin_socket import AdminSocket
from umad.router.haproxy.answers import Place, facts_of, places_of
from umad.router.invitations import Invitations
from umad.router.members import NodeKind
from umad.router.policy import Asked, session_key
from umad.router.running import run_router
from umad.router.telling import joining_row
from umad.router.telling import why as why_words

_MOST_KEY_BYTES = 4096
_ANYWHERE = ("0.0.0.0", "::")


def init(listen: str, certificate: str | None, join: str | None, folder: Path | None) -> None:
    """Make a folder with settings and an authority."""
    path = _path(folder)
    file = path / "router.yaml"
    if file.exists():
        raise AlreadyRunning(f"{file} is there already; change it by hand")
    said = {"listen": listen}
    if certificate is not None:
        said["certificate"] = str(Path(certificate).expanduser().absolute())
    if join is not None:
        said["join"] = join
    text = yaml.safe_dump(said, sort_keys=False).encode()
    made = RouterFolder(path=path, settings=settings_of(text, str(file)))
    # An address that is none, or needs a certificate, is refused before anything is written.
    made.proxy()
    made.join_address  # noqa: B018
    with _told_plainly():
        authority = team_authority().make(path, now=_now())
        write_own(file, text)
    click.echo(f"made {printable(str(path))}")
    click.echo(f"authority {authority.fingerprint}")
    if join is None:
        click.echo("next: umad router certify NAME --out DIR, umad router add NAME HOST:PORT,")
        click.echo("      umad router run")
    else:
        click.echo("next: umad router run, and umad router invite NAME for each machine")


def invite(name: str, folder: Path | None) -> None:
    """Print a token."""
    found = open_folder(folder)
    address = found.join_address
    if address is None:
        raise BadConfig(
            f"nobody can join yet: write join: 0.0.0.0:8442 into {found.path / 'router.yaml'} and "
            "run the router anew, or use umad router certify",
            field="join",
        )
    authority = team_authority()(found.path)
    token = Invitations(found.invitations_path).invite(
        name, fingerprint=authority.fingerprint, now_s=int(_now().timestamp())
    )
    click.echo(str(token))
    host = socket.gethostname() if address[0] in _ANYWHERE else address[0]
    click.echo(
        f"on {name}, within an hour: umad node join {host}:{address[1]} --token TOKEN", err=True
    )


def certify(name: str, out: Path, folder: Path | None) -> None:
    """Write a node's certificate, its key, and the authority's certificate."""
    found = open_folder(folder)
    authority = team_authority()(found.path)
    pair = authority.certified_pair(name, now=_now())
    out = out.expanduser()
    files = {
        "own.pem": pair.certificate + pair.key,
        "cert.pem": pair.certificate,
        "key.pem": pair.key,
        "ca.pem": authority.certificate,
    }
    with _told_plainly():
        for file, data in files.items():
            write_own(out / file, data)
    click.echo(f"wrote {', '.join(files)} to {printable(str(out))}")
    command = f"umad serve --http 0.0.0.0:8443 --gateway-team {shlex.quote(str(out))}"
    click.echo(f"on {name}: {printable(command)}")


def add(
    name: str, address: str, kind: str, size: float, key_file: str | None, folder: Path | None
) -> None:
    """A new member."""
    found = open_folder(folder)
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise BadRequest(f"{address!r} is no address: write HOST:PORT", field="address")
    if key_file is not None:
        key_file = str(Path(key_file).expanduser().absolute())
    member = found.members.add(
        name,
        host=host.strip("[]"),
        port=int(port),
        kind=NodeKind(kind),
        size=size,
        key_file=key_file,
    )
    click.echo(f"{member.name} is node {member.number}")


def remove(name: str, folder: Path | None) -> None:
    """A member leaves."""
    open_folder(folder).members.remove(name)
    click.echo(f"{name} is no node any more")


def drain(name: str, folder: Path | None, *, wanted: bool) -> None:
    """No new sessions, or again some."""
    open_folder(folder).members.drain(name, wanted=wanted)
    click.echo(f"{name} {'drains' if wanted else 'takes new sessions'}")


def run(folder: Path | None) -> int:
    """Run the router."""
    return run_router(open_folder(folder))


def stop(at_once: bool, folder: Path | None) -> int:
    """End HAProxy."""
    found = open_folder(folder)
    if found.is_running():
        raise AlreadyRunning("umad router run goes on and would start HAProxy again; end it first")
    try:
        facts = facts_of(_asked(found, commands.SHOW_INFO))
    except ProxyFailed:
        click.echo("no HAProxy runs")
        return NO_DAEMON
    process.end(facts.pid, at_once=at_once)
    click.echo("HAProxy ends" if at_once else "HAProxy takes nobody new, and ends after what runs")
    return DONE


def ls(folder: Path | None, as_json: bool) -> int:
    """Show the nodes."""
    found = open_folder(folder)
    is_running = found.is_running()
    told = _told(found)
    if as_json:
        click.echo(json.dumps({**told, "is_running": is_running}))
        return DONE if is_running else NO_DAEMON
    table = plain_table()
    for title in ("NODE", "STATE", "ROOM", "WEIGHT", "OPEN", "AGE", "MODELS", "ADDRESS"):
        table.add_column(title)
    for row in told["nodes"]:
        table.add_row(*_cells(row))
    open_console().print(table)
    for row in told["nodes"]:
        if row["problem"]:
            click.echo(f"{row['name']}: {printable(row['problem'])}", err=True)
    for problem in told["problems"]:
        click.echo(f"umad: {printable(problem)}", err=True)
    if not is_running:
        click.echo("umad: no router runs here; this was known last: umad router run", err=True)
    return DONE if is_running else NO_DAEMON


def why(session: str, model: str | None, api_key_file: str | None, folder: Path | None) -> int:
    """Say where a session is, and why."""
    found = open_folder(folder)
    if not session:
        raise BadRequest("the session has no name", field="session")
    place = None
    for credential in _credentials(api_key_file):
        key = session_key(Asked(model=model, session=session, credential=credential))
        if place is None and key is not None:
            place = next(places_of(_asked(found, commands.show_place(key))), None)
    told = _told(found)
    click.echo(printable(why_words(place, told, ttl_s=found.settings.session_ttl_s)))
    return FAILED if place is None or not _is_node(place, told) else DONE


def _credentials(api_key_file: str | None) -> tuple[str, ...]:
    """What a client with the key sends: in Authorization, or in X-Api-Key."""
    if api_key_file is None:
        return ("",)
    key = _key(api_key_file)
    return f"Bearer {key}", key


def _is_node(place: Place, told: Mapping[str, Any]) -> bool:
    return any(row["number"] == place.number for row in told["nodes"])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    state = f"{row['state']}, drains" if row["draining"] else str(row["state"])
    room = "-" if row["room"] is None else f"{row['room']:.0%} ({row['narrowest']})"
    age = "-" if row["scorecard_age_s"] is None else f"{row['scorecard_age_s']:.0f} s"
    is_open = "-" if row["open_requests"] is None else str(row["open_requests"])
    models = ", ".join(row["models"]) or "-"
    cells = (row["name"], state, room, str(row["weight"]), is_open, age, models, row["address"])
    return tuple(printable(cell) for cell in cells)


def _told(folder: RouterFolder) -> dict[str, Any]:
    """What the router's process told last; of members that it has not seen yet, that they join."""
    told: dict[str, Any] = {"nodes": [], "models": {}, "problems": []}
    try:
        told = json.loads(folder.fleet_path.read_bytes())
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise BadConfig(f"{folder.fleet_path} cannot be read: {error}") from error
    seen = {row["name"] for row in told["nodes"]}
    unseen = [one for one in folder.members.members() if one.name not in seen]
    return {**told, "nodes": [*told["nodes"], *map(joining_row, unseen)]}


def _asked(folder: RouterFolder, line: str) -> str:
    return asyncio.run(AdminSocket(folder.admin_path).ask(line))


@contextlib.contextmanager
def _told_plainly() -> Iterator[None]:
    """A file that cannot be written is the user's to mend."""
    try:
        yield
    except OSError as error:
        raise BadConfig(f"{error.filename}: {error.strerror}") from error


def _key(path: str) -> str:
    try:
        data = read_named(Path(path).expanduser(), _MOST_KEY_BYTES, secret=True)
        return data.decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"--api-key-file {path}: {error}", field="api_key_file") from error


def _path(folder: Path | None) -> Path:
    return default_folder(os.environ) if folder is None else folder.expanduser().absolute()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
