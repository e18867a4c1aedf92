"""What somebody wants started, as values that were checked. Pure.

A *task* is one machine, which SkyPilot rents and ends. A *service* is SkyServe: several machines
behind SkyPilot's own load balancer, which replaces machines that are taken away. Between that
balancer and its machines SkyPilot speaks plain HTTP (sky/serve/replica_managers.py, `url`), so a
service has to be wished for in so many words.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Literal

from umad.errors import BadRequest
from umad.scale.launch.budget import Budget
from umad.scale.plan import Plan

Kind = Literal["task", "service"]
CacheKind = Literal["volume", "bucket"]
PORT = 8443
# SkyPilot's names of clusters go into names of machines: 63 letters with what clouds add.
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")
# cloud[/region[/zone]], k8s/context, ssh/pool, or * for any.
_INFRA = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._:/*@-]{0,127}")
_STORED = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MODEL = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
MOST_REPLICAS = 64
MOST_IDLE_MINUTES = 7 * 24 * 60
MOST_NETWORKS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Where weights stay when the machine goes."""

    kind: CacheKind
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One model, on one kind of machine."""

    # Of the cluster or service, and of the node in a team.
    name: str
    plan: Plan
    kind: Kind = "task"
    # SkyPilot's words for where: aws/us-east-1, ssh/pool; "" is the cheapest of all.
    infra: str = ""
    # Machines that may be taken away are tried first, and others where there are none.
    uses_spot: bool = False
    replicas: int = 1
    # Without a request for so long, it ends.
    idle_minutes: int = 30
    budget: Budget = field(default_factory=Budget)
    cache: Cache | None = None
    disk_gb: int = 0
    # Addresses that may ask, as networks; none are everybody.
    networks: tuple[str, ...] = ()
    # Only who has a certificate of the team's router may connect.
    in_team: bool = False
    logs_requests: bool = False
    # Somebody knows that a service's inner hop is not encrypted.
    accepts_plain_hop: bool = False

    @property
    def model(self) -> str:
        """What the engine loads."""
        return self.plan.shape.name


def check(wanted: Deployment) -> None:
    """Raises `BadRequest` for the first thing that is wrong, and says what to do."""
    check_name(wanted.name)
    plan = wanted.plan
    if not plan.fits:
        raise BadRequest(plan.refused, field="model")
    if not _MODEL.fullmatch(wanted.model):
        raise BadRequest(
            f"{wanted.model[:60]!r} is no repository that a machine elsewhere can fetch: name one "
            "of the hub (org/repo), or serve a folder here with --local",
            field="model",
        )
    if plan.machines.nodes > 1:
        raise BadRequest(
            "umad starts a model on one machine at a time, and this plan takes "
            f"{plan.machines.nodes}: take more accelerators in one machine",
            field="nodes",
        )
    if plan.machines.accelerator.vendor == "amd":
        raise BadRequest(
            "the engines' packages that are installed there are for NVIDIA's accelerators: start "
            f"the maker's own image on {plan.machines.accelerator.name} by hand",
            field="accelerators",
        )
    if wanted.infra and not _INFRA.fullmatch(wanted.infra):
        raise BadRequest(
            f"{wanted.infra[:60]!r} is no place as SkyPilot writes them: aws/us-east-1, ssh/POOL",
            field="infra",
        )
    if wanted.infra.startswith("ssh") and wanted.uses_spot:
        raise BadRequest("machines of your own are no spot machines", field="spot")
    for value, least, most, name in (
        (wanted.replicas, 1, MOST_REPLICAS, "replicas"),
        (wanted.idle_minutes, 1, MOST_IDLE_MINUTES, "idle"),
        (wanted.disk_gb, 0, 64_000, "disk"),
    ):
        if not least <= value <= most:
            raise BadRequest(f"{name} is {value}, and is {least} to {most}", field=name)
    _check_kind(wanted)
    _check_networks(wanted)
    if wanted.cache is not None and not _STORED.fullmatch(wanted.cache.name):
        raise BadRequest(
            f"{wanted.cache.name[:60]!r} is no name of a {wanted.cache.kind}: small letters, "
            "digits and dashes",
            field="cache",
        )


def check_name(name: str) -> None:
    """Raises `BadRequest` for a name that clouds would refuse, or that is the router's own."""
    if not _NAME.fullmatch(name) or name == "router":
        raise BadRequest(
            f"{name[:60]!r} is no name for a deployment: small letters, digits and dashes, "
            "a letter first, 30 at most, and not router",
            field="name",
        )


def cache_of(text: str) -> Cache:
    """What `volume:NAME` or `bucket:NAME` means. Raises `BadRequest`."""
    kind, colon, name = text.partition(":")
    if colon and kind == "volume":
        return Cache(kind="volume", name=name)
    if colon and kind == "bucket":
        return Cache(kind="bucket", name=name)
    raise BadRequest(f"{text[:60]!r} is no cache: write volume:NAME or bucket:NAME", field="cache")


def _check_kind(wanted: Deployment) -> None:
    if wanted.kind == "task":
        if wanted.replicas > 1:
            raise BadRequest(
                f"{wanted.replicas} replicas are a service: --service, or several deployments "
                "behind umad router",
                field="replicas",
            )
        return
    if not wanted.accepts_plain_hop:
        raise BadRequest(
            "SkyServe's balancer speaks plain HTTP to its machines, so prompts and keys cross the "
            "cloud's network unencrypted: --plain-hop accepts that; or start several deployments "
            "behind umad router, which encrypts",
            field="service",
        )
    if wanted.networks:
        raise BadRequest(
            "a service's machines see its balancer's address alone: --allow works without "
            "--service",
            field="allow",
        )
    if wanted.in_team:
        raise BadRequest(
            "a service's balancer has no certificate of a team: --join works without --service",
            field="join",
        )


def _check_networks(wanted: Deployment) -> None:
    if len(wanted.networks) > MOST_NETWORKS:
        raise BadRequest(f"there are at most {MOST_NETWORKS} networks", field="allow")
    for one in wanted.networks:
        try:
            ipaddress.ip_network(one)
        except ValueError as error:
            raise BadRequest(
                f"{one[:60]!r} is no network, such as 203.0.113.0/24: {error}", field="allow"
            ) from None
