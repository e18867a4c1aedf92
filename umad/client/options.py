"""How long a client waits and how much it holds. Values only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """Bounds of one client. Seconds and bytes.

    name: what the daemon's log calls this client.
    connect_s: to connect and be greeted. call_s: to send a request, and for a single answer.
    load_s: for a model to be loaded. event_s: between two events of a request; a request that
    waits behind others has none for long. embed_s: for all vectors of one request, or its ranking.
    frame_bytes: longest message taken from the daemon.
    unread_bytes: unread events of all requests together beyond which the socket is left alone,
    as long as nobody waits (`umad.client.inbox`).
    unread_request_bytes: unread events of one request beyond which it is given up.
    socket_owner: a user, by name or number, whose daemon is spoken to besides this user's own and
    root's; None for what UMAD_SOCKET_OWNER says.
    """

    name: str = "python"
    connect_s: float = 5.0
    call_s: float = 30.0
    load_s: float = 660.0
    event_s: float = 600.0
    embed_s: float = 3600.0
    frame_bytes: int = 16 * 2**20
    unread_bytes: int = 256 * 2**10
    unread_request_bytes: int = 16 * 2**20
    socket_owner: str | None = None


DEFAULT_OPTIONS = ClientOptions()
