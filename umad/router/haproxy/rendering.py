"""Writes HAProxy's configuration from checked values. Pure: the same values give the same text.

What the text makes sure of:
    - A request is sent again only if no connection came about. After that a node may be computing,
      and a second one would compute it twice.
    - Between HAProxy and nodes there is TLS with certificates on both sides, for checks too. No
      agent-check.
    - A node that its check finds dead ends its streams at once, so that clients get an error and do
      not wait for a timeout.
    - A session's key is made as in `umad.router.policy.session_key`. The stick table has no API
      keys in it.
    - New sessions go by weight to the less loaded of two (`balance random(2)`), so a crowd that
      comes before the next weights does not go to one node.
    - Where the table of sessions is full, HAProxy looks for an old entry several times before it
      leaves a new session out.
    - Connections to nodes are kept and shared by all clients, so that few first tokens wait for a
      handshake.
    - A body is waited for until it is whole or fills the buffer. Only so much of it is looked at
      for the model, the session and the first texts.
"""

import re
from collections.abc import Callable, Mapping

from umad.router.haproxy.values import (
    Pool,
    Proxy,
    Server,
    StatusPage,
    address,
    check_model,
    check_name,
)

# Nobody waits so long for a body: it bounds clients that never send one.
_BODY_S = 10
# A connection to a node takes two round trips and some milliseconds of processor time, most of what
# a router would add to a first token. So those that are idle are kept while people read and think.
# Two looks at them, so far apart, end before a node closes them itself (after 75 s).
_KEPT = "pool-purge-delay 30s"
# For a new session in a full table HAProxy looks at a 128th of the entries, oldest first. It passes
# over those that were used since it last looked, and forgets the first others, up to half as many.
# If there are none, the session is not remembered: its next turn may go to another node, without
# its cache. HAProxy looks once for each rule that stores, up to the first that succeeds. In tables
# of 20 and 500 entries, where four of five requests were of known sessions, one look left out 15 %
# and 4 % of the new ones. Four left out none of 154 and one of 392.
_MORE_LOOKS = 3
_CHECK = "inter 2s fastinter 500ms downinter 2s fall 3 rise 2"


def render(proxy: Proxy) -> str:
    """The whole file."""
    sections = [_global(proxy), _defaults(proxy), _front(proxy)]
    if proxy.front_path is not None:
        sections.append(_own_front(proxy, proxy.front_path))
    sections.append(_sessions(proxy))
    sections += [_pool(pool, proxy) for pool in proxy.pools]
    if proxy.status is not None:
        sections.append(_status(proxy.status))
    return "# Written by umad; changes are lost.\n" + "\n".join(sections)


def render_models(models: Mapping[str, str]) -> str:
    """The file that gives each model its pool, at `Proxy.models_path`."""
    for model, pool in models.items():
        check_model(model)
        check_name(pool, "pool")
    return "".join(f"{model} {pool}\n" for model, pool in sorted(models.items()))


def server_words(server: Server, proxy: Proxy, *, on_socket: bool = False) -> str:
    """A server's address and all of its settings, as after its name.

    on_socket: for the admin socket, which knows no quotes and takes no defaults of the file.
    """
    path = escaped if on_socket else _quoted
    name = server.certified_name or server.name
    words = [
        address(server.host, server.port),
        f"id {server.number}",
        f"weight {server.weight}",
        _certified(proxy, path),
        f"sni str({name}) verifyhost {name}",
        f"check check-ssl check-sni {name} {_CHECK}",
        _KEPT,
        "on-marked-down shutdown-sessions",
    ]
    return " ".join(words)


def _global(proxy: Proxy) -> str:
    return _section(
        "global",
        # No request is logged: a log of bodies or keys must not come about by default.
        "log stderr format raw local0 notice",
        f"stats socket {_quoted(proxy.admin_path)} mode 600 level admin expose-fd listeners",
        "stats timeout 30s",
        # Two of them at one address would each get a part of the clients.
        "noreuseport",
        f"maxconn {proxy.most_connections}",
        f"hard-stop-after {proxy.drain_timeout_s}s",
        f"tune.bufsize {proxy.buffer_bytes}",
        "ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets",
        "ssl-default-server-options ssl-min-ver TLSv1.2 no-tls-tickets",
        "ssl-server-verify required",
    )


def _defaults(proxy: Proxy) -> str:
    return _section(
        "defaults",
        "mode http",
        "log global",
        # Tokens are small and each is waited for.
        "option http-no-delay",
        # A client that hangs up in the queue leaves it.
        "option abortonclose",
        "option redispatch 1",
        "retries 2",
        "retry-on conn-failure",
        f"timeout connect {proxy.connect_timeout_s}s",
        f"timeout client {proxy.silence_timeout_s}s",
        f"timeout server {proxy.silence_timeout_s}s",
        f"timeout queue {proxy.queue_timeout_s}s",
        "timeout http-request 10s",
        "timeout http-keep-alive 60s",
        # A client's first request, too, goes over a connection to the node that is open. Where the
        # node closes that one or vanishes at the same moment, the request fails and is not sent
        # again, since nobody knows whether it was begun. `aggressive` would want each connection
        # to be proven by a client's second request, and most clients make one of each connection.
        "http-reuse always",
        "timeout check 2s",
    )


def _front(proxy: Proxy) -> str:
    front = proxy.front
    bind = f"bind {address(front.host, front.port)}"
    if front.certificate_path is not None:
        bind += f" ssl crt {_quoted(front.certificate_path)} alpn h2,http/1.1"
    if front.clients_authority_path is not None:
        bind += f" verify required ca-file {_quoted(front.clients_authority_path)}"
    return _section(
        "frontend front",
        bind,
        # What clients say of themselves and of the way here is not believed.
        "http-request del-header x-umad-front",
        "http-request del-header x-forwarded-for",
        "http-request set-header x-forwarded-for %[src]",
        *_to_pools(proxy),
    )


def _own_front(proxy: Proxy, path: str) -> str:
    """Where the team's own gateway comes in, which has looked at its clients' keys: by the rights
    of a file, and with a mark that nodes believe, since nobody else's is passed on."""
    return _section(
        "frontend own",
        f"bind {_quoted('unix@' + path)} mode 600",
        "http-request set-header x-umad-front 1",
        "http-request set-header x-forwarded-for front",
        *_to_pools(proxy),
    )


def _to_pools(proxy: Proxy) -> tuple[str, ...]:
    """From a request to the pool of its model."""
    by_model = f"%[var(txn.model),map_str({_quoted(proxy.models_path)})]"
    return (
        f"http-request wait-for-body time {_BODY_S}s if {{ method POST }}",
        *_key(),
        f"use_backend {by_model} if {{ var(txn.model) -m found }}",
        f"default_backend {proxy.default_pool}",
    )


def _key() -> tuple[str, ...]:
    """Model and key of a request's session, in the variables txn.model and txn.key."""
    first, role = "req.body,json_query('$.messages[0].content')", "'$.messages[0].role'"
    named, bearer = "req.hdr(x-umad-session)", "req.hdr(authorization)"
    # Bodies of umad's own clients are no JSON.
    model = "req.hdr(x-umad-model)"
    return (
        _set("model", "req.body,json_query('$.model')"),
        _set("model", model, f"{{ {model} -m found }}"),
        _set("credential", "req.hdr(x-api-key)"),
        _set("credential", bearer, f"{{ {bearer} -m found }}"),
        _set("session", "req.body,json_query('$.session')"),
        _set("session", named, f"{{ {named} -m found }}"),
        "acl has_session var(txn.session) -m len gt 0",
        f"acl is_led req.body,json_query({role}) -m str system developer",
        _set("first", "req.body,json_query('$.prompt')"),
        _set("first", first, f"{{ {first} -m found }}"),
        _set("second", "req.body,json_query('$.messages[1].content')", "is_led"),
        _set("opening", "str(),concat(,txn.first),concat(,txn.second),bytes(0,4096)"),
        "acl has_opening var(txn.opening) -m len gt 0",
        _set("talk", "str('session '),concat(,txn.session)", "has_session"),
        _set("talk", "str('opening '),concat(,txn.opening)", "!has_session has_opening"),
        # Of an empty text where the variable is not set.
        *(
            _set(f"h_{name}", f"str(),concat(,txn.{name}),sha2(256),hex")
            for name in ("credential", "talk", "model")
        ),
        "acl has_talk var(txn.talk) -m found",
        _set(
            "key",
            "var(txn.h_credential),concat(,txn.h_talk),concat(,txn.h_model),sha2(256),hex",
            "has_talk",
        ),
    )


def _set(name: str, expression: str, condition: str | None = None) -> str:
    line = f"http-request set-var(txn.{name}) {expression}"
    return line if condition is None else f"{line} if {condition}"


def _sessions(proxy: Proxy) -> str:
    return _section(
        "backend sessions",
        f"stick-table type string len 64 size {proxy.most_sessions} expire {proxy.session_ttl_s}s",
        # Nobody is sent there. HAProxy gives a server that joins later only files that it read when
        # it began, and it may begin without any node.
        f"server files 127.0.0.1:1 disabled {_certified(proxy, _quoted)}",
    )


def _pool(pool: Pool, proxy: Proxy) -> str:
    return _section(
        f"backend {pool.name}",
        "balance random(2)",
        "stick on var(txn.key) table sessions",
        *(_MORE_LOOKS * ("stick store-request var(txn.key) table sessions",)),
        f"option httpchk GET {pool.health_path}",
        "http-check expect status 200",
        *(f"server {one.name} {server_words(one, proxy)}" for one in pool.servers),
    )


def _status(status: StatusPage) -> str:
    return _section(
        "frontend status",
        f"bind {address(status.host, status.port)}",
        "http-request deny deny_status 401 unless "
        f"{{ req.fhdr(authorization),sha2(256),hex -m str {status.authorization_digest} }}",
        "stats enable",
        "stats uri /",
        "stats refresh 5s",
    )


def _section(head: str, *lines: str) -> str:
    return "\n".join((head, *(f"    {line}" for line in lines))) + "\n"


def _certified(proxy: Proxy, path: Callable[[str], str]) -> str:
    """TLS with certificates on both sides."""
    authority, own = path(proxy.tls.authority_path), path(proxy.tls.own_path)
    return f"ssl verify required ca-file {authority} crt {own}"


def _quoted(path: str) -> str:
    """In HAProxy's strong quotes nothing is special; `values` refuses the quote itself."""
    return f"'{path}'"


def escaped(path: str) -> str:
    """On the admin socket a blank ends a word and a semicolon ends a command."""
    return re.sub(r"([\\ ;])", r"\\\1", path)
