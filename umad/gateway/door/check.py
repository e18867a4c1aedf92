"""Checks that the gateway may listen on an address, before anything starts. Not: listening."""

from pathlib import Path

from umad.config import HttpSettings
from umad.errors import BadConfig
from umad.gateway.door.hosts import is_loopback
from umad.gateway.door.keys import Keyring, read_keys

UNIX = "unix:"


def check_door(settings: HttpSettings) -> Keyring:
    """The keys, once they are sure to be enough for the address. Raises `BadConfig`.

    Whoever reaches the gateway can use the machine. So an address beyond this machine takes a key,
    or the user must ask for it twice.
    """
    path = settings.api_key_file
    keys = Keyring() if path is None else read_keys(Path(path).expanduser())
    listen = settings.listen
    if listen is None:
        return keys
    if settings.team is not None and listen.startswith(UNIX):
        raise BadConfig("--gateway-team needs an address of TCP, not a Unix socket", field="http")
    # Certificates decide who comes in to a node of a team.
    is_private = listen.startswith(UNIX) or is_local(listen) or settings.team is not None
    if not is_private and keys.is_open and not settings.exposed:
        raise BadConfig(
            f"--http {listen} can be reached from other machines: give it --api-key-file FILE, "
            "or say --gateway-exposed to let everybody in",
            field="http",
        )
    return keys


def host_and_port(listen: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; brackets around an IPv6 address are left out."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def is_local(listen: str) -> bool:
    """Whether an address is one of this machine alone. A Unix socket has no host to check."""
    return not listen.startswith(UNIX) and is_loopback(host_and_port(listen)[0])
