"""Tells which commands make HAProxy what it should be. Pure.

    pools_of_models   which pool has which model: HAProxy has so many pools from its start on
    wanted_pools      who should be in which pool, with which weight
    server_commands   the difference to what HAProxy has, as commands
    model_commands    the same for the map of models

All that HAProxy has is read each second and compared with what is wanted, and nothing is
remembered. So a router that was started again, a command that was refused, and a person who changed
something by hand all end in the same way: the difference is mended a second later.

What is not known is left as it is. A node that has said nothing yet keeps the weight that HAProxy
has for it, and a pool in which nobody would take newcomers keeps all its weights: HAProxy's own
checks then decide, and that is better than to refuse everybody.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from umad.router.haproxy import commands
from umad.router.haproxy.answers import PoolServer
from umad.router.haproxy.values import Proxy, Server, is_model

# The pool of all nodes, for requests whose model has no pool of its own.
ALL: Final = "all"
# A server that is added before anything is known of its node: HAProxy's check decides.
UNKNOWN_WEIGHT = 1
# Pool and server.
Spot = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedServer:
    """A server as it should be."""

    name: str
    number: int
    # An address; never a name, which HAProxy does not look up for servers that join.
    host: str
    port: int
    # None: as it is.
    weight: int | None
    is_draining: bool = False


def spare_pools(n_models: int) -> tuple[str, ...]:
    """Names of the pools for models."""
    return tuple(f"m{number}" for number in range(1, n_models + 1))


def pools_of_models(
    models: Iterable[str], held: Mapping[str, str], pools: Sequence[str]
) -> dict[str, str]:
    """The pool of each model. A model keeps its pool; one for which none is left, or whose name
    cannot stand in a map, gets none, and its requests go to all nodes.

    held: as HAProxy has it. A pool that two models share by somebody's hand stays with the first.
    """
    given: dict[str, str] = {}
    wanted = sorted({model for model in models if is_model(model)})
    free = dict.fromkeys(pools)
    for model in wanted:
        pool = held.get(model)
        if pool in free:
            del free[pool]
            given[model] = pool
    for model in wanted:
        if model not in given and free:
            given[model] = next(iter(free))
            del free[given[model]]
    return given


def settled_weights(weights: Mapping[str, int]) -> Mapping[str, int | None]:
    """Weights as they are pushed: none of them where nobody would take newcomers."""
    if any(weights.values()):
        return dict(weights)
    return dict.fromkeys(weights)


def server_commands(
    wanted: Mapping[str, Sequence[WantedServer]],
    seen: Sequence[PoolServer],
    *,
    proxy: Proxy,
    busy: Collection[Spot] = (),
    overdue: Collection[Spot] = (),
) -> list[str]:
    """Commands that make the pools as they should be, those that let nodes in first.

    A server that nobody wants any more drains, and is taken out once nothing runs there. busy:
    where something runs. overdue: those that have drained for so long that what runs there is cut.
    """
    found = {(one.pool, one.name): one for one in seen if one.pool in wanted}
    told: list[str] = []
    kept: set[Spot] = set()
    for pool, servers in wanted.items():
        for one in servers:
            spot = (pool, one.name)
            kept.add(spot)
            there = found.get(spot)
            if there is None:
                told += _added(pool, one, proxy)
            elif there.number != one.number:
                # A node of the same name that is another one: the old one goes first.
                kept.discard(spot)
            else:
                told += _changed(pool, one, there)
    members = {one.number for one in wanted.get(ALL, ())}
    going = {spot: there for spot, there in found.items() if spot not in kept}
    for spot, there in going.items():
        told += _leaving(there, is_busy=spot in busy and spot not in overdue)
    # The sessions of a node that is no member any more would come back to it for as long as it has
    # a server. An entry that is in use now stays, so this is said again.
    gone = sorted({there.number for there in going.values()} - members)
    return [*told, *map(commands.unpin_node, gone)]


def model_commands(
    wanted: Mapping[str, str], seen: Mapping[str, str], *, proxy: Proxy
) -> list[str]:
    """Commands that make the map of models as it should be."""
    told = [
        commands.give_model(model, pool, proxy, is_new=model not in seen)
        for model, pool in wanted.items()
        if seen.get(model) != pool
    ]
    told += [
        commands.take_model(model, proxy)
        for model in seen
        if model not in wanted and is_model(model)
    ]
    return told


def leaving(wanted: Mapping[str, Sequence[WantedServer]], seen: Sequence[PoolServer]) -> set[Spot]:
    """Where servers are that nobody wants any more."""
    kept = {(pool, one.name, one.number) for pool, servers in wanted.items() for one in servers}
    return {
        (one.pool, one.name)
        for one in seen
        if one.pool != commands.TABLE and (one.pool, one.name, one.number) not in kept
    }


def _added(pool: str, one: WantedServer, proxy: Proxy) -> list[str]:
    server = Server(
        name=one.name,
        number=one.number,
        host=one.host,
        port=one.port,
        weight=UNKNOWN_WEIGHT if one.weight is None else one.weight,
    )
    told = [*commands.add_server(pool, server, proxy)]
    if one.is_draining:
        told.append(commands.drain(pool, one.name))
    return told


def _changed(pool: str, one: WantedServer, there: PoolServer) -> list[str]:
    told = []
    if (one.host, one.port) != (there.host, there.port):
        told.append(commands.readdress(pool, one.name, one.host, one.port))
    if one.weight is not None and one.weight != there.weight:
        told.append(commands.set_weight(pool, one.name, one.weight))
    if there.is_stopped or one.is_draining != there.is_draining:
        # `ready` ends both draining and stopping.
        told.append(commands.ready(pool, one.name))
        if one.is_draining:
            told.append(commands.drain(pool, one.name))
    return told


def _leaving(there: PoolServer, *, is_busy: bool) -> list[str]:
    if not there.is_draining and not there.is_stopped:
        # What began there since HAProxy was asked is seen at the next look.
        return [commands.drain(there.pool, there.name)]
    return [] if is_busy else [*commands.remove_server(there.pool, there.name)]
