"""Speaks with HAProxy: its configuration, its commands, its answers, its process.

    values        Proxy and its parts: what is to be written, checked
    rendering     the configuration file
    commands      lines for the admin socket: weights, pins, nodes that come, drain and go
    answers       what HAProxy says there: servers, their work, sessions, models
    admin_socket  the socket itself
    process       HAProxy is checked, started in the background, and ended

HAProxy carries every byte between clients and nodes. It is told the rest: it knows nothing of
scorecards, and asks nobody for each request (a look-up in Lua costs a millisecond each time).

The first four are pure.
Not: what HAProxy should be told (`umad.router.pools`), nor its agent-check, which is plain TCP: a
weight arrives by it even over a link that TLS refuses, so weights are pushed.
"""

from umad.router.haproxy.rendering import render, render_models
from umad.router.haproxy.values import Front, Pool, Proxy, Server, StatusPage, Tls

__all__ = ["Front", "Pool", "Proxy", "Server", "StatusPage", "Tls", "render", "render_models"]
