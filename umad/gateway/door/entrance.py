"""Decides who sent a request: by its Host and Origin, its key, and the owner of its connection.

    a key                         the key's own: admin or user, as its file says
    no keys are set, and it is
      a process of this user      the machine's user; root too, because root can do anything anyway
      a page of another origin    accepted if `--cors-origin` names it: a user, one for each origin
      another user                refused; with `--gateway-all-users`, or on a Unix socket whose
                                  file that user may open: a user, one for each uid
      another machine             accepted only with `--gateway-exposed`: a user, one per address
      nobody can tell             refused, with what to do

A node of a team takes connections of the team's router alone, by certificate. HAProxy names the
client of every request that it passes on; what has no such name is the router's own question, and
what the team's front asks has a mark.

Not: what each may do; the daemon decides that (`umad.daemon.authority`). Pure.
"""

import os
from dataclasses import dataclass, replace

from starlette.datastructures import Headers

from umad.asker import MACHINE_USER, Asker
from umad.gateway.door.hosts import HostRule
from umad.gateway.door.keys import ANYBODY, NOBODY, Caller, Keyring
from umad.gateway.door.peers import TcpPeer
from umad.gateway.errors import Forbidden, Unauthorized

ROOT = 0
# The app of the gateway's own page. All browsers call themselves Mozilla, and none lets a page
# change that, so the page is known by the address that it comes from.
OWN_PAGE = "page"
_MAX_OWNER_CHARS = 128
# HAProxy writes it anew into every request that it passes on (`umad.router.haproxy.rendering`).
CLIENT = "x-forwarded-for"
# HAProxy adds it to what comes from the team's own front, and takes it from everybody else.
FRONT_HEADER = "x-umad-front"
# The front, which has looked at the keys of those for whom it asks. Who they are stands in its
# requests (`umad.gateway.dialects.frames`); elsewhere it is this one user.
FRONT = Caller(name="front", asker=Asker(owner="net:front", role="user"))
# The router itself, which reads scorecards and lists of models.
ROUTER = Caller(name="router", app="router", asker=Asker(owner="router", role="admin"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """The door of one gateway."""

    keys: Keyring
    hosts: HostRule
    own_uid: int
    # Other users of this machine may come in without a key.
    all_users: bool = False
    # Other machines may come in, too.
    exposed: bool = False
    # Only the router of a team can connect (`umad.gateway.door.team`).
    team: bool = False

    def caller(self, headers: Headers, peer: TcpPeer | None, *, needs_key: bool = True) -> Caller:
        """The caller of a request. Raises `Forbidden` or `Unauthorized`, each with advice what to
        do.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        host = headers.get("host")
        self.hosts.check(host, origin, site, headers.get("sec-fetch-mode"))
        if not needs_key:
            return NOBODY
        client = headers.get(CLIENT)
        if self.team and client is None:
            return ROUTER
        if self.team and FRONT_HEADER in headers:
            return FRONT
        if not self.keys.is_open:
            return self.keys.caller(key_of(headers))
        if self.team:
            # Where it connects from is where the router is, which says nothing of its clients.
            owner = f"net:{client}"[:_MAX_OWNER_CHARS]
            return replace(ANYBODY, asker=Asker(owner=owner, role="user"))
        asker = MACHINE_USER if peer is None else self._without_key(peer)
        is_own_page = site == "same-origin"
        if origin is not None:
            is_own_page = self.hosts.is_same_origin(origin, host)
            if not is_own_page:
                owner = f"page:{origin.lower()}"
                asker = replace(asker, owner=owner[:_MAX_OWNER_CHARS], role="user")
        # A stranger could send these headers, too, so a stranger keeps the name of its kind.
        app = OWN_PAGE if is_own_page and not asker.owner else None
        return replace(ANYBODY, asker=asker, app=app)

    def _without_key(self, peer: TcpPeer) -> Asker:
        if peer.uid is not None and peer.uid in (self.own_uid, ROOT):
            return MACHINE_USER
        if not peer.is_local:
            if not self.exposed:
                raise Unauthorized("this gateway takes no requests of other machines without a key")
            return Asker(owner=f"net:{peer.address}", role="user")
        if not peer.address and peer.uid is not None:
            # A Unix socket: its owner chose, by the file's mode, which users come in.
            return Asker(owner=f"uid:{peer.uid}", role="user")
        if self.all_users or self.exposed:
            who = f"net:{peer.address}" if peer.uid is None else f"uid:{peer.uid}"
            return Asker(owner=who, role="user")
        if peer.uid is None:
            raise Unauthorized(
                "it cannot be told which user of this machine asks (a container, WSL, a proxy, or "
                "a client that has gone): give the gateway --api-key-file FILE and send a key, or "
                "open it to every user with --gateway-all-users"
            )
        raise Forbidden(
            f"this gateway serves uid {self.own_uid} only, not uid {peer.uid}; start your own: "
            "umad serve --http, or ask for a key (--api-key-file)"
        )


def entrance(
    *,
    keys: Keyring,
    hosts: HostRule,
    all_users: bool = False,
    exposed: bool = False,
    team: bool = False,
) -> Entrance:
    """The entrance of a gateway that this process's user runs."""
    return Entrance(
        keys=keys,
        hosts=hosts,
        own_uid=os.getuid(),
        all_users=all_users,
        exposed=exposed,
        team=team,
    )


def key_of(headers: Headers) -> str | None:
    """The key, from the header in which the packages send it: OpenAI and Ollama, Anthropic,
    Azure.
    """
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    return headers.get("x-api-key") or headers.get("api-key")
