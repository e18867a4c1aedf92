"""Who a connection is, whether it may stay, and which lane its work runs in.

Not: asking the kernel (`umad.daemon.peer`). Called once a connection and once a request.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from umad.config import LaneSettings
from umad.daemon.peer import Peer, process_name
from umad.errors import BadRequest, Refused

UNKNOWN_APP = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A connection's owner. app: the peer's process name; what it says of itself is not asked."""

    uid: int
    pid: int
    app: str


def identify(peer: Peer, *, own_uid: int) -> Identity:
    """Name the peer. Raises `Refused` for any other user, root not excepted."""
    if peer.uid != own_uid:
        raise Refused(
            f"this daemon serves uid {own_uid} only, not uid {peer.uid}; start your own: umad serve"
        )
    return Identity(uid=peer.uid, pid=peer.pid, app=process_name(peer.pid) or UNKNOWN_APP)


class LaneRules:
    """Chooses a lane: what the request asks for, else what its session was given, else the first
    rule that fits the app, else a default."""

    def __init__(
        self,
        *,
        lanes: Mapping[str, LaneSettings],
        rules: Iterable[tuple[str, str]],
        default: str,
    ) -> None:
        self._lanes = tuple(lanes)
        self._rules = tuple(rules)
        self._default = default
        for lane in (default, *(lane for _, lane in self._rules)):
            self.check(lane)

    def check(self, lane: str) -> str:
        """`lane`, if there is one of that name. Raises `BadRequest` naming the nearest."""
        if lane in self._lanes:
            return lane
        near = difflib.get_close_matches(lane, self._lanes, n=1, cutoff=0.0)
        hint = f"did you mean {near[0]}?" if near else "none is configured"
        raise BadRequest(f"no lane is called {lane!r}; {hint}", field="lane")

    def lane(self, *, app: str, asked: str | None, of_session: str | None) -> str:
        """The lane of a request. Raises `BadRequest` where it asks for one that is not there."""
        if asked is not None:
            return self.check(asked)
        if of_session is not None:
            return of_session
        for pattern, lane in self._rules:
            if fnmatchcase(app, pattern):
                return lane
        return self._default
