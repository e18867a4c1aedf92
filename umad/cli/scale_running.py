"""Runs `umad scale status`, `down` and `watch`: what was started, and what becomes of it.

Not: what is to be done (`umad.scale.launch.tending`). It needs no daemon.
"""

import datetime
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from umad.cli.printed import printable
from umad.cli.scale_launch import launch_secrets, records
from umad.cli.tables import open_console, plain_table
from umad.errors import UmadError
from umad.exit_codes import DONE
from umad.router.folder import open_folder
from umad.router.members import NodeKind
from umad.scale.launch import here
from umad.scale.launch.asking import Box, is_healthy, key_usage
from umad.scale.launch.budget import per_thousand, spent
from umad.scale.launch.record import Record
from umad.scale.launch.records import Records
from umad.scale.launch.sky_program import SkyProgram
from umad.scale.launch.tending import Do, Seen, verdict
from umad.scale.launch.usage import KeyUsage


def status(name: str | None, as_json: bool) -> int:
    """Show one, or all."""
    kept = records()
    wanted = [kept.of(name)] if name is not None else [kept.of(one) for one in kept.names()]
    seen = _seen(wanted)
    rows = [_row(kept, one, seen.get(one.name)) for one in wanted]
    if as_json:
        click.echo(json.dumps({"deployments": rows}))
        return DONE
    table = plain_table()
    for head in (
        "NAME",
        "STATE",
        "MODEL",
        "ADDRESS",
        "HOURLY",
        "SPENT",
        "LEFT h",
        "TOKENS",
        "PER 1k",
    ):
        table.add_column(head)
    for row in rows:
        table.add_row(*_cells(row))
    open_console().print(table)
    for row in rows:
        for key, tokens in row["tokens_by_key"].items():
            click.echo(printable(f"{row['name']}: key {key} had {tokens:,} tokens"))
        if row["problem"]:
            click.echo(f"{row['name']}: {printable(row['problem'])}", err=True)
    return DONE


def down(name: str) -> None:
    """End it, give the machine back, and forget it."""
    kept = records()
    record = kept.of(name)
    _leave(record)
    if record.kind == "here":
        here.end(here.Started(pid=record.pid, began_s=record.pid_began_s))
    else:
        _sky().down(record.name, record.kind)
    kept.remove(name)
    click.echo(f"{name} ended, and its keys are gone")


def watch(every_s: float, is_once: bool) -> None:
    """Do what is to be done, again and again."""
    # How each was when SkyPilot knew it: a machine that was taken away is not known any more.
    known: dict[str, Seen] = {}
    while True:
        kept = records()
        watched = [one for one in map(kept.of, kept.names()) if one.kind != "here"]
        try:
            _watch_all(kept, watched, known)
        except UmadError as error:
            # A cloud that does not answer now may do so next time.
            click.echo(f"umad: {printable(error.message)}", err=True)
        if is_once:
            return
        time.sleep(every_s)


def _watch_all(kept: Records, watched: list[Record], known: dict[str, Seen]) -> None:
    seen = _seen(watched)
    for record in watched:
        try:
            done = _tend(kept, record, seen.get(record.name), known.get(record.name))
        except UmadError as error:
            click.echo(f"{record.name}: {printable(error.message)}", err=True)
            continue
        if done is Do.RENT:
            known.pop(record.name, None)
    known.update(seen)


def _tend(kept: Records, record: Record, seen: Seen | None, before: Seen | None) -> Do:
    box = _box(kept, record, seen)
    found = verdict(
        record,
        seen,
        before,
        is_healthy=box is not None and is_healthy(box),
        is_member=_is_member(record),
        now_s=_now_s(),
    )
    if found is Do.JOIN and seen is not None:
        host, _, port = seen.address.rpartition(":")
        open_folder(Path(record.router_folder)).members.add(
            record.name,
            host=host.strip("[]"),
            port=int(port),
            kind=NodeKind(record.engine),
            key_file=str(next(iter(kept.key_files(record.name).values()))),
        )
    elif found is Do.LEAVE:
        _leave(record)
    elif found is Do.END:
        _sky().down(record.name, record.kind)
    elif found is Do.RENT:
        _rent_again(kept, record)
    if found is not Do.NOTHING:
        click.echo(f"{record.name}: {found.value}")
    return found


def _rent_again(kept: Records, record: Record) -> None:
    """The same task, with the keys that there are: clients have them."""
    secrets = launch_secrets(kept.keys(record.name), record.model, needs_token=record.needs_token)
    _sky().launch(kept.task(record.name), record.name, record.kind, secrets, is_dry=False)


def _leave(record: Record) -> None:
    if _is_member(record):
        open_folder(Path(record.router_folder)).members.remove(record.name)


def _is_member(record: Record) -> bool:
    if not record.router_folder:
        return False
    members = open_folder(Path(record.router_folder)).members.members()
    return any(one.name == record.name for one in members)


def _seen(wanted: Iterable[Record]) -> dict[str, Seen]:
    """What SkyPilot knows; it is not asked where nothing was rented."""
    tasks = [one.name for one in wanted if one.kind == "task"]
    services = [one.name for one in wanted if one.kind == "service"]
    return _sky().status(tasks, services) if tasks or services else {}


def _sky() -> SkyProgram:
    return SkyProgram.found(show=lambda line: click.echo(printable(line), err=True))


def _box(kept: Records, record: Record, seen: Seen | None) -> Box | None:
    """How its machine is asked; None while it has no address."""
    key = next(iter(kept.keys(record.name).values()), None)
    if record.kind == "here":
        return Box(address=f"127.0.0.1:{record.port}", name=record.name, authority=None, key=key)
    if seen is None or not seen.address:
        return None
    own = Path(record.router_folder) / "own.pem" if record.router_folder else None
    return Box(
        address=seen.address,
        name=record.name,
        authority=kept.folder_of(record.name) / "tls" / "ca.pem",
        own=own,
        key=key,
    )


def _row(kept: Records, record: Record, seen: Seen | None) -> dict[str, Any]:
    box, now_s = _box(kept, record, seen), _now_s()
    state = _state_here(record) if record.kind == "here" else seen.state if seen else "gone"
    problem = ""
    used: dict[str, KeyUsage] = {}
    is_well = box is not None and is_healthy(box)
    if box is not None and is_well and record.engine in ("vllm", "sglang"):
        try:
            used = key_usage(box, record.engine)
        except UmadError as error:
            problem = error.message
    price = record.price_per_hour
    if seen is not None and seen.price_per_hour is not None:
        price = seen.price_per_hour
    tokens = sum(one.total_tokens for one in used.values())
    lasted_s = now_s - record.began_at_s
    return {
        "name": record.name,
        "kind": record.kind,
        "engine": record.engine,
        "model": record.model,
        "accelerators": record.accelerators,
        "state": state,
        "is_healthy": is_well,
        "address": box.address if box is not None else "",
        "price_per_hour": price,
        "spent": round(spent(price, lasted_s), 4),
        "left_s": max(0, round(record.ends_at_s - now_s)) if record.ends_at_s else None,
        "tokens": tokens,
        "tokens_by_key": {key: one.total_tokens for key, one in used.items()},
        "cost_per_1000_tokens": per_thousand(price, lasted_s, tokens),
        "key_files": {key: str(path) for key, path in kept.key_files(record.name).items()},
        "problem": problem,
    }


def _state_here(record: Record) -> str:
    started = here.Started(pid=record.pid, began_s=record.pid_began_s)
    return "UP" if here.runs(started) else "gone"


def _cells(row: Mapping[str, Any]) -> list[str]:
    cost, left_s = row["cost_per_1000_tokens"], row["left_s"]
    return [
        row["name"],
        row["state"] + ("" if row["is_healthy"] else ", does not answer"),
        printable(row["model"]),
        row["address"] or "-",
        f"{row['price_per_hour']:.2f}",
        f"{row['spent']:.2f}",
        "-" if left_s is None else f"{left_s / 3600:.1f}",
        f"{row['tokens']:,}",
        "-" if cost is None else f"{cost:.4f}",
    ]


def _now_s() -> float:
    return datetime.datetime.now(datetime.UTC).timestamp()
