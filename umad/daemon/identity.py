"""Identifies a connection, refuses other users, and chooses the lane of its work.

Not: asking the kernel (`umad.peer`). Called once a connection and once a request.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from umad.config import AppRule, LaneSettings
from umad.daemon.peer import process_name, process_path
from umad.errors import BadRequest, Refused
from umad.peer import Peer

UNKNOWN_APP = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The process at the other end of a connection."""

    uid: int
    pid: int
    # The peer's process name. A name that the client gives itself is not trusted.
    app: str
    # The path of its executable, where the system tells it.
    path: str | None = None


def identify(peer: Peer, *, own_uid: int) -> Identity:
    """Name the peer. Raises `Refused` for any other user, root not excepted."""
    if peer.uid != own_uid:
        raise Refused(
            f"this daemon serves uid {own_uid} only, not uid {peer.uid}; start your own: umad serve"
        )
    return Identity(
        uid=peer.uid,
        pid=peer.pid,
        app=process_name(peer.pid) or UNKNOWN_APP,
        path=process_path(peer.pid),
    )


class LaneRules:
    """Chooses a lane, and finds the app's own latency cap.

    The first of these that exists decides the lane: the request's lane, the session's lane, the
    first rule for the app that names a lane, the default. A rule with a "/" is compared with the
    path of the peer's executable, any other rule with the app's name.
    """

    def __init__(
        self,
        *,
        lanes: Mapping[str, LaneSettings],
        rules: Iterable[AppRule],
        default: str,
    ) -> None:
        self._lanes = tuple(lanes)
        self._priority = {name: lane.priority for name, lane in lanes.items()}
        self._rules = tuple(rules)
        self._default = default
        for lane in (default, *(rule.lane for rule in self._rules)):
            if lane is not None:
                self.check(lane)

    def check(self, lane: str) -> str:
        """`lane`, if it exists. Raises `BadRequest` naming the nearest lane."""
        if lane in self._lanes:
            return lane
        near = difflib.get_close_matches(lane, self._lanes, n=1, cutoff=0.0)
        hint = f"did you mean {near[0]}?" if near else "none is configured"
        raise BadRequest(f"no lane is called {lane!r}; {hint}", field="lane")

    def lane(
        self,
        *,
        app: str,
        asked: str | None,
        of_session: str | None,
        path: str | None = None,
        ceiling: str | None = None,
    ) -> str:
        """The lane of a request, never above `ceiling`.

        Raises `BadRequest` where the request asks for an unknown lane, `Refused` where it asks for
        a lane above the ceiling.
        """
        if asked is not None:
            return self.below(self.check(asked), ceiling)
        chosen = of_session or self._of_app(app, path)
        if ceiling is not None and self._is_above(chosen, self.check(ceiling)):
            return ceiling
        return chosen

    def below(self, lane: str, ceiling: str | None) -> str:
        """`lane`, which a request asked for. Raises `Refused` where it is above `ceiling`."""
        if ceiling is not None and self._is_above(lane, self.check(ceiling)):
            raise Refused(f"this key's work runs in lane {ceiling} at the most", field="lane")
        return lane

    def _is_above(self, lane: str, ceiling: str) -> bool:
        """Whether `lane` is above `ceiling`; lanes of equal priority are not."""
        return self._priority[lane] > self._priority[ceiling]

    def _of_app(self, app: str, path: str | None) -> str:
        for rule in self._fitting(app, path):
            if rule.lane is not None:
                return rule.lane
        return self._default

    def latency_cap(self, *, app: str, path: str | None = None) -> float | None:
        """The latency cap of the first rule for the app that has one."""
        for rule in self._fitting(app, path):
            if rule.latency_cap is not None:
                return rule.latency_cap
        return None

    def _fitting(self, app: str, path: str | None) -> Iterator[AppRule]:
        for rule in self._rules:
            about = path if "/" in rule.app else app
            if about is not None and fnmatchcase(about, rule.app):
                yield rule
