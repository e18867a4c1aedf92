"""Runs `umad scale launch`: rents a machine for a model through SkyPilot, or starts it here.

Not: SkyPilot, or what a machine gets (`umad.scale.launch`); nor showing and ending
(`umad.cli.scale_running`). It needs no daemon.
"""

import datetime
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from umad.cli.printed import printable
from umad.cli.scale import found_plan
from umad.cli.scale_here import launch_here
from umad.configuration.sources import default_path
from umad.errors import AccessNeeded, BadRequest
from umad.models.fetching.hub import HubAccess
from umad.router.folder import default_folder, open_folder, team_authority
from umad.scale.launch import keys as api_keys
from umad.scale.launch import sky_task
from umad.scale.launch.box_files import box_files
from umad.scale.launch.budget import Budget
from umad.scale.launch.deployment import Deployment, Kind, cache_of, check
from umad.scale.launch.prices import Offer, dearest
from umad.scale.launch.record import Record
from umad.scale.launch.records import Records
from umad.scale.launch.sky_program import SkyProgram
from umad.scale.plan import Plan, title

_MOST_SHOWN = 5
_HOUR_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """What launch is told besides the plan."""

    name: str
    infra: str
    spot: bool
    service: bool
    replicas: int
    plain_hop: bool
    idle: int
    hours: float
    money: float
    cache: str
    disk_gb: int
    allow: tuple[str, ...]
    key_names: str
    join: bool
    folder: Path | None
    logs_requests: bool
    only_prints: bool
    is_dry: bool
    is_sure: bool
    is_local: bool
    port: int


def records() -> Records:
    """Those of this user: beside the configuration, like the router's folder."""
    return Records(default_path(os.environ, platform=sys.platform).parent / "scale")


def launch(model: str, accelerators: str, path: Path | None, **given: Any) -> int:
    """Rent and start, or start here."""
    of_how = {name: given.pop(name) for name in _How.__dataclass_fields__}
    how = _How(**of_how)
    name = how.name or _name_of(model)
    if how.is_local:
        return launch_here(records(), name, model, accelerators, how.port, path=path, given=given)
    if given["engine"] == "umad":
        raise BadRequest(
            "umad serves one machine: --local starts it here, and umad router joins several",
            field="engine",
        )
    if not accelerators:
        raise BadRequest(
            "name the accelerators, such as H100:2, or start it on this machine with --local",
            field="accelerators",
        )
    wanted = _wanted(name, found_plan(model, accelerators, path=path, **given), how)
    check(wanted)
    kept = records()
    folder = str(kept.folder_of(name))
    if how.only_prints:
        click.echo(sky_task.render(wanted, folder=folder), nl=False)
        return 0
    return _launched(kept, wanted, how)


def _wanted(name: str, plan: Plan, how: _How) -> Deployment:
    kind: Kind = "service" if how.service else "task"
    return Deployment(
        name=name,
        plan=plan,
        kind=kind,
        infra=how.infra,
        uses_spot=how.spot,
        replicas=how.replicas,
        idle_minutes=how.idle,
        budget=Budget(hours=how.hours, money=how.money),
        cache=cache_of(how.cache) if how.cache else None,
        disk_gb=how.disk_gb,
        networks=how.allow,
        in_team=how.join,
        logs_requests=how.logs_requests,
        accepts_plain_hop=how.plain_hop,
    )


def _launched(kept: Records, wanted: Deployment, how: _How) -> int:
    made = api_keys.make(tuple(one.strip() for one in how.key_names.split(",") if one.strip()))
    secrets = launch_secrets(made, wanted.model, needs_token=wanted.plan.shape.is_gated)
    sky = SkyProgram.found(show=lambda line: click.echo(printable(line), err=True))
    folder = kept.begin(wanted.name)
    began_s = _now().timestamp()
    is_kept = False
    try:
        # SkyPilot looks for them before it says a price.
        _write(kept, wanted, made, how)
        offers = sky.prices(sky_task.render(wanted, folder=str(folder)))
        price = dearest(offers)
        lasts_s = wanted.budget.seconds(price)
        _show_offers(wanted, offers, lasts_s)
        _ask(how)
        ends_at_s = int(began_s) + lasts_s if lasts_s else 0
        task = sky_task.render(wanted, folder=str(folder), ends_at_s=ends_at_s)
        kept.write_files(wanted.name, "", {"task.yaml": task})
        record = Record(
            name=wanted.name,
            kind=wanted.kind,
            engine=wanted.plan.wish.engine,
            model=wanted.model,
            accelerators=str(wanted.plan.machines),
            began_at_s=began_s,
            ends_at_s=ends_at_s,
            price_per_hour=price,
            uses_spot=wanted.uses_spot,
            needs_token=wanted.plan.shape.is_gated,
            idle_minutes=wanted.idle_minutes,
            router_folder=str(how.folder or default_folder(os.environ)) if how.join else "",
        )
        if not how.is_dry:
            # From here on something may be rented: what is kept says what to end.
            kept.write(record)
            is_kept = True
        sky.launch(task, wanted.name, wanted.kind, secrets, is_dry=how.is_dry)
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)
    if how.is_dry:
        click.echo("nothing was rented: SkyPilot went through all that comes before")
        return 0
    click.echo(f"{wanted.name} starts; its keys are in {printable(str(folder / 'keys'))}")
    click.echo(f"umad scale status {wanted.name} shows its address and its cost")
    click.echo(
        "umad scale watch takes it into the router's team, and rents anew after preemption"
        if how.join or how.spot
        else f"umad scale down {wanted.name} ends it"
    )
    return 0


def _write(kept: Records, wanted: Deployment, made: Mapping[str, str], how: _How) -> None:
    """All that the machine gets and that clients need. Keys are in files of their own."""
    kept.write_files(wanted.name, "box", box_files(wanted))
    kept.write_files(wanted.name, "tls", _certificates(kept, wanted, how))
    kept.write_files(wanted.name, "keys", {one: key + "\n" for one, key in made.items()})


def _certificates(kept: Records, wanted: Deployment, how: _How) -> dict[str, str]:
    """A certificate for the deployment's name: of the team, or of an authority of its own."""
    make = team_authority()
    if how.join:
        authority = make(open_folder(how.folder).path)
    else:
        path = kept.folder_of(wanted.name) / "authority"
        authority = make.make(path, now=_now())
    pair = authority.certified_pair(wanted.name, now=_now())
    found = {
        "node.pem": pair.certificate + pair.key,
        "cert.pem": pair.certificate,
        "key.pem": pair.key,
        "ca.pem": authority.certificate,
    }
    return {file: data.decode() for file, data in found.items()}


def launch_secrets(made: Mapping[str, str], model: str, *, needs_token: bool) -> dict[str, str]:
    """What a machine is given besides its files. Raises `AccessNeeded` where a token is missing."""
    found = {sky_task.KEYS_SECRET: api_keys.digests(made)}
    if needs_token:
        token = HubAccess.of_client().token
        if token is None:
            raise AccessNeeded(
                f"{model} is given only to who accepted its licence: accept it on its page, "
                "then set HF_TOKEN, or run hf auth login"
            )
        found[sky_task.TOKEN_SECRET] = token
    return found


def _show_offers(wanted: Deployment, offers: tuple[Offer, ...], lasts_s: int) -> None:
    click.echo(f"{printable(wanted.model)} with {title(wanted.plan)} on {wanted.plan.machines}")
    for one in offers[:_MOST_SHOWN]:
        kind = "spot" if one.is_spot else "on demand"
        click.echo(printable(f"  {one.price_per_hour:8.2f} an hour  {one.infra} {kind}"))
    if lasts_s:
        most = dearest(offers) * lasts_s / _HOUR_S * wanted.replicas
        click.echo(f"ends after {lasts_s / _HOUR_S:.1f} hours, at most {most:.2f}")
    else:
        click.echo("no budget bounds it: --hours, --money")
    click.echo(f"ends after {wanted.idle_minutes} minutes without a request")


def _ask(how: _How) -> None:
    if how.is_sure or how.is_dry:
        return
    if not sys.stdin.isatty():
        raise BadRequest("renting costs money: --yes says that you want it", field="yes")
    click.confirm("rent it?", abort=True)


def _name_of(model: str) -> str:
    """A name from a model's: its last part, in letters that clouds take."""
    last = re.sub(r"[^a-z0-9]+", "-", model.rstrip("/").rpartition("/")[2].lower())
    return re.sub(r"^[^a-z]+", "", last)[:30].strip("-") or "model"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
