"""Holds the timeouts and memory limits of a client. Values only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """The limits of one client, in seconds and bytes."""

    # The client's name in the daemon's log.
    name: str = "python"
    # To connect and be greeted. A service manager may just have begun to start the daemon, which
    # answers after its imports, and the first time after a probe of the machine's memory.
    connect_s: float = 20.0
    # To look for a daemon that was connected and has gone, from its end on: somebody may start it
    # again. 0 for not at all.
    return_s: float = 5.0
    # To send a request, and to wait for a single answer.
    call_s: float = 30.0
    # To wait until a model is loaded.
    load_s: float = 660.0
    # Between two events of a request. A request that waits behind others gets none for long.
    event_s: float = 600.0
    # For all vectors of one request, or its ranking.
    embed_s: float = 3600.0
    # Events that tell how a model is loaded that a request waits for (`umad.service.Loading`).
    tells_loading: bool = False
    # Longest message taken from the daemon.
    frame_bytes: int = 16 * 2**20
    # Unread events of all requests together. Beyond it the socket is not read as long as nobody
    # waits (`umad.client.inbox`).
    unread_bytes: int = 256 * 2**10
    # Unread events of one request. Beyond it the request is given up.
    unread_request_bytes: int = 16 * 2**20
    # A user, by name or number, whose daemon is trusted besides this user's own and root's; None
    # for the value of UMAD_SOCKET_OWNER.
    socket_owner: str | None = None


DEFAULT_OPTIONS = ClientOptions()
