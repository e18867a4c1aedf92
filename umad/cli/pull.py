"""Runs `umad pull`: fetches models, as jobs of the daemon where one runs, else in the foreground.

`umad run` offers the same, once, for a model that is not here.

The daemon is given the work only where it would do it as this process would: with the same hub,
token and folders (`umad.jobs.surroundings`). What is said goes to stderr. Not: the fetching
(`umad.models.fetching`), nor what is shown of it (`umad.cli.following`).
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from umad.cli.connect import connect
from umad.cli.following import Shown, follow, stderr_console
from umad.cli.here import catalogue
from umad.cli.printed import printable
from umad.cli.tables import byte_size, parameter_count
from umad.errors import BadRequest, NoDaemon, Unsupported
from umad.jobs.job import PullOrder
from umad.jobs.ordering import pull_order
from umad.jobs.surroundings import surroundings
from umad.models.reference import ModelReference, parse
from umad.models.store import Store, store_folder
from umad.service import Service

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One model, as it was written, and what is to be done for it."""

    text: str
    reference: ModelReference
    order: PullOrder


def pull(
    models: Sequence[str],
    config: Path | None,
    *,
    limit: str | None,
    parts: int,
    keep_free: str | None,
    quantize: str | None,
    background: bool,
    socket: str | None,
    as_json: bool,
) -> None:
    """Fetch every model, one after the other."""
    known = catalogue(config)
    bytes_per_s = None if limit is None else _size(limit, "--limit")
    keep_free_bytes = None if keep_free is None else _size(keep_free, "--keep-free")
    # All of them are looked at before the first byte of one is fetched.
    asked = [
        _Asked(
            text=text,
            reference=parse(text),
            order=pull_order(
                _whole_path(text),
                known,
                quantize=quantize,
                parts=parts,
                bytes_per_s=bytes_per_s,
                keep_free_bytes=keep_free_bytes,
            ),
        )
        for text in models
    ]
    for one in asked:
        if background:
            _hand_in(one, socket, as_json=as_json)
            continue
        made = _pulled(one, socket)
        if as_json:
            click.echo(json.dumps(dict(made)))  # a line for each, as soon as it is here
        else:
            _say(made, one.reference)


def offer(word: str) -> bool:
    """Ask a person whether to fetch a model that is not here, and do so; whether it is here now.

    Nobody is asked where nobody could answer, or where the word names nothing that can be fetched.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    try:
        reference = parse(word)
    except BadRequest:
        return False
    known = catalogue()
    named = (known.meant, known.preset, known.get)
    can_be_known = any(look(reference.name) is not None for look in named)
    if reference.kind == "file" or (reference.kind == "catalogue" and not can_be_known):
        return False
    order = pull_order(word, known)
    with Shown(console=stderr_console(), asks=True) as shown:
        _here(_Asked(text=word, reference=reference, order=order), shown)
    return True


# -- here, or by the daemon ------------------------------------------------------------------------


def _pulled(asked: _Asked, socket: str | None) -> Mapping[str, Any]:
    with Shown(console=stderr_console()) as shown:
        # A file that is here only gets a name.
        made = None if asked.reference.kind == "file" else _by_daemon(asked, socket, shown)
        return made if made is not None else _here(asked, shown)


def _here(asked: _Asked, shown: Shown) -> Mapping[str, Any]:
    """Fetch in the foreground."""
    from umad.jobs.work import pull as work  # noqa: PLC0415  (what it imports takes half a second)

    # The hub's client warns of what an error or a bar says here too.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return work(asked.order, Store(store_folder(os.environ)), shown.told).as_map()
    except KeyboardInterrupt:
        click.echo(f"stopped: umad pull {printable(asked.text)} goes on from there", err=True)
        raise


def _by_daemon(asked: _Asked, socket: str | None, shown: Shown) -> Mapping[str, Any] | None:
    """Have the daemon fetch, and follow it; None where there is none, or it would fetch otherwise.
    Ctrl-C ends the job, and what has come stays for the next pull.
    """
    with asyncio.Runner() as runner, connect(runner, socket) as client:
        try:
            row = runner.run(_asking(client, asked.order))
        except NoDaemon:
            return None
        except Unsupported as error:
            click.echo(f"fetched here: {printable(error.message)}", err=True)
            return None
        except BadRequest as error:
            if error.field == "type":  # a daemon of an earlier version
                return None
            raise
        try:
            return follow(runner, client, row, shown)
        except KeyboardInterrupt:
            if row["is_new"]:
                runner.run(client.cancel_job(str(row["job"])))
                said = f"stopped: umad pull {printable(asked.text)} goes on from there"
            else:
                said = f"job {row['job']} goes on, as somebody else began it: umad jobs"
            click.echo(said, err=True)
            raise


def _hand_in(asked: _Asked, socket: str | None, *, as_json: bool) -> None:
    """Have the daemon fetch, and end."""
    with asyncio.Runner() as runner, connect(runner, socket) as client:
        row = runner.run(_asking(client, asked.order))
    if as_json:
        click.echo(json.dumps(dict(row)))
        return
    what = "is" if row["is_new"] else "is already"
    click.echo(
        f"{printable(asked.text)} {what} job {row['job']}; umad jobs follow {row['job']} shows it"
    )


async def _asking(client: Service, order: PullOrder) -> Mapping[str, Any]:
    return await client.pull(
        order.reference,
        quantize=order.quantize,
        parts=order.parts,
        bytes_per_s=order.bytes_per_s,
        keep_free_bytes=order.keep_free_bytes,
        surroundings=surroundings(os.environ),
    )


# -- what is said ----------------------------------------------------------------------------------


def _say(made: Mapping[str, Any], reference: ModelReference | None = None) -> None:
    n_params = made["n_params"]
    known = (
        byte_size(made["size_bytes"]),
        made["quantization"],
        parameter_count(n_params) + " parameters" if n_params else "",
    )
    name = str(made["name"])
    click.echo(f"{printable(name)} is here: {', '.join(filter(None, known))}")
    if made.get("kind") == "adapter":
        click.echo(
            f"it is an adapter: umad run MODEL+{printable(name)}, with the model it was made for"
        )
        return
    if made["problem"]:
        click.echo(f"llama.cpp cannot read it: {printable(made['problem'])}", err=True)
        return
    if reference is not None and reference.kind == "catalogue" and made["source"]:
        # By the name it was asked for, where that is the shorter one.
        name = min(name, str(reference), key=len)
    click.echo(f"chat with it: umad run {printable(name)}")


def _whole_path(text: str) -> str:
    """A model's text, with the whole path where it is a file's: the daemon has another folder."""
    reference = parse(text)
    if reference.kind != "file":
        return text
    return os.path.abspath(os.path.expanduser(reference.name))


def _size(text: str, flag: str) -> int:
    """Bytes of `20M`, `1.5GB`, `500k/s`, `1048576`."""
    plain = text.strip().upper().removesuffix("/S").removesuffix("B").removesuffix("I")
    number = plain.rstrip("KMGT")
    unit = plain[len(number) :]
    try:
        n_bytes = int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise BadRequest(f"{flag}: {text!r} is no size; write it as 20M or 1.5GB") from None
    if n_bytes < 0 or (n_bytes == 0 and flag == "--limit"):
        raise BadRequest(f"{flag}: {text!r} is too small")
    return n_bytes
