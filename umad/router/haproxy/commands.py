"""Writes the lines that HAProxy's admin socket takes while it runs. Pure.

Several lines go in one connection, joined by `;`. Each answer is empty where all went well, but for
those of new servers, which say so.
A name that is not a plain word is refused here: on the socket, `;` begins another command.
"""

from collections.abc import Iterable

from umad.errors import BadRequest
from umad.router.haproxy.rendering import escaped, server_words
from umad.router.haproxy.values import (
    Proxy,
    Server,
    check_key,
    check_model,
    check_name,
    check_number,
    check_port,
    check_weight,
    is_ip,
)

TABLE = "sessions"
SHOW_INFO = "show info"
SHOW_SERVERS = "show servers state"
# Of servers alone: proxy -1 is all of them, and 4 is the bit of servers.
SHOW_WORK = "show stat -1 4 -1"
SHOW_PLACES = f"show table {TABLE}"


def set_weight(pool: str, server: str, weight: int) -> str:
    """The server's part of the new sessions of a pool."""
    check_weight(weight)
    return f"set server {_of(pool, server)} weight {weight}"


def drain(pool: str, server: str) -> str:
    """No new sessions; those that the table knows stay."""
    return f"set server {_of(pool, server)} state drain"


def ready(pool: str, server: str) -> str:
    """Sessions as its weight and its health say; ends `drain` and `stop`."""
    return f"set server {_of(pool, server)} state ready"


def stop(pool: str, server: str) -> str:
    """Nothing goes there any more, and its sessions go to others. HAProxy also ends what runs
    there, as for a node that is down: drain first, and wait until nothing does."""
    return f"set server {_of(pool, server)} state maint"


def pin(key: str, number: int) -> tuple[str, str]:
    """The session goes to the node of that number from its next request on.

    Two lines: the entry is removed first, because HAProxy keeps the server's name beside the number
    in an entry that it made itself, and goes by the name.
    """
    check_key(key)
    check_number(number)
    return unpin(key), f"set table {TABLE} key {key} data.server_id {number}"


def unpin(key: str) -> str:
    """The session's next request is placed as a new one."""
    check_key(key)
    return f"clear table {TABLE} key {key}"


def unpin_node(number: int) -> str:
    """The next requests of all sessions of that node are placed as new ones."""
    check_number(number)
    return f"clear table {TABLE} data.server_id eq {number}"


def show_place(key: str) -> str:
    """Where one session is."""
    check_key(key)
    return f"{SHOW_PLACES} key {key}"


def show_places(number: int) -> str:
    """All sessions of a node."""
    check_number(number)
    return f"{SHOW_PLACES} data.server_id eq {number}"


def show_models(proxy: Proxy) -> str:
    """Which model goes to which pool."""
    return f"show map {escaped(proxy.models_path)}"


def add_server(pool: str, server: Server, proxy: Proxy) -> tuple[str, ...]:
    """A node joins a pool. It begins stopped, so it is set ready and its check is begun."""
    name = _of(pool, server.name)
    return (
        f"add server {name} {server_words(server, proxy, on_socket=True)}",
        f"enable health {name}",
        ready(pool, server.name),
    )


def readdress(pool: str, server: str, host: str, port: int) -> str:
    """A node has another address. What runs there goes on at the old one until it ends."""
    if not is_ip(host):
        raise BadRequest(f"{host[:80]!r} is no IP address", field="host")
    check_port(port)
    return f"set server {_of(pool, server)} addr {host} port {port}"


def remove_server(pool: str, server: str) -> tuple[str, ...]:
    """A node that was drained leaves a pool. HAProxy refuses it while connections are open."""
    return stop(pool, server), f"del server {_of(pool, server)}"


def give_model(model: str, pool: str, proxy: Proxy, *, is_new: bool) -> str:
    """Requests for the model go to the pool. is_new: whether it has had none so far."""
    check_model(model)
    check_name(pool, "pool")
    return f"{'add' if is_new else 'set'} map {escaped(proxy.models_path)} {model} {pool}"


def take_model(model: str, proxy: Proxy) -> str:
    """Requests for the model go where those go that name none."""
    check_model(model)
    return f"del map {escaped(proxy.models_path)} {model}"


def one_line(lines: Iterable[str]) -> str:
    """Commands as they are sent, with the end of line."""
    return "; ".join(lines) + "\n"


def _of(pool: str, server: str) -> str:
    check_name(pool, "pool")
    check_name(server, "server")
    return f"{pool}/{server}"
