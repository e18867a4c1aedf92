"""Identifies a connection, refuses other users, and chooses the lane of its work.

Not: asking the kernel (`umad.peer`), nor which programs are known (`umad.daemon.known_apps`).
Called once a connection and once a request.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, partial

from umad.config import AppRule, LaneSettings
from umad.daemon.known_apps import Known, known_app, nearest_known
from umad.daemon.peer import parent_names, process_name, process_path
from umad.errors import BadRequest, Refused
from umad.peer import Peer

UNKNOWN_APP = "unknown"
Parents = Callable[[], tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The process at the other end of a connection."""

    uid: int
    pid: int
    # The peer's process name. A name that the client gives itself is not trusted.
    app: str
    # The path of its executable, where the system tells it.
    path: str | None = None
    # The names of the processes above it, the nearest first. They are looked up when they are first
    # asked for, because most connections never need them, and once.
    parents: "Parents" = field(default=tuple, compare=False, repr=False)


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
        parents=cache(partial(parent_names, peer.pid)),
    )


def own_process(identity: Identity, named: str | None) -> tuple[str | None, Parents]:
    """The path of the asking app's executable, and the processes above it.

    named: the app for which a front end asks; what is known of the front end's own process says
    nothing about that one.
    """
    return (identity.path, identity.parents) if named is None else (None, tuple)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneChoice:
    """A lane, and why."""

    lane: str
    # The rule that chose it, in the words of `umad ps`.
    by: str


# The words of rules that have no name of their own.
BY_REQUEST = "the request"
BY_SESSION = "its session was moved"
BY_DEFAULT = "default_lane"
BY_KEY = "the lane of its key"
BY_MOVE = "umad priority"


class LaneRules:
    """Chooses a lane, and finds the app's own latency cap.

    The first of these that exists decides the lane: the request's lane, the session's lane, the
    first rule for the app that names a lane, what umad knows of the program or of the nearest
    process above it, the default. A rule with a "/" is compared with the path of the peer's
    executable, any other rule with the app's name.
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
        parents: Parents = tuple,
    ) -> str:
        """The lane that `choose` chooses."""
        return self.choose(
            app=app,
            asked=asked,
            of_session=of_session,
            path=path,
            ceiling=ceiling,
            parents=parents,
        ).lane

    def choose(
        self,
        *,
        app: str,
        asked: str | None,
        of_session: str | None,
        path: str | None = None,
        ceiling: str | None = None,
        parents: Parents = tuple,
    ) -> LaneChoice:
        """The lane of a request, never above `ceiling`, and the rule that chose it.

        parents: the names of the processes above the app's; called only where no rule decides.
        Raises `BadRequest` where the request asks for an unknown lane, `Refused` where it asks for
        a lane above the ceiling.
        """
        if asked is not None:
            return LaneChoice(lane=self.below(self.check(asked), ceiling), by=BY_REQUEST)
        if of_session is not None:
            chosen = LaneChoice(lane=of_session, by=BY_SESSION)
        else:
            chosen = self._of_app(app, path, parents)
        if ceiling is not None and self._is_above(chosen.lane, self.check(ceiling)):
            return LaneChoice(lane=ceiling, by=BY_KEY)
        return chosen

    def below(self, lane: str, ceiling: str | None) -> str:
        """`lane`, which a request asked for. Raises `Refused` where it is above `ceiling`."""
        if ceiling is not None and self._is_above(lane, self.check(ceiling)):
            raise Refused(f"this key's work runs in lane {ceiling} at the most", field="lane")
        return lane

    def _is_above(self, lane: str, ceiling: str) -> bool:
        """Whether `lane` is above `ceiling`; lanes of equal priority are not."""
        return self._priority[lane] > self._priority[ceiling]

    def _of_app(self, app: str, path: str | None, parents: Parents) -> LaneChoice:
        for rule in self._fitting(app, path):
            if rule.lane is not None:
                return LaneChoice(lane=rule.lane, by=f"apps: {rule.app}")
        found = known_app(app)
        if found is not None and found.kind.lane in self._lanes:
            return LaneChoice(lane=found.kind.lane, by=_words(found))
        above = nearest_known(parents())
        if above is not None and above.kind.lane in self._lanes:
            return LaneChoice(lane=above.kind.lane, by=f"under {_words(above)}")
        return LaneChoice(lane=self._default, by=BY_DEFAULT)

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


def _words(known: Known) -> str:
    return f"{known.name}: {known.kind.words}"
