"""Reads the origins of web pages, and the patterns by which a user allows them.

An origin is what a browser sends as Origin: a scheme, a host and, unless it is the scheme's own,
a port (RFC 6454). Apps and browser extensions have schemes of their own: `app://obsidian.md`,
`tauri://localhost`, `chrome-extension://abcdef`, `vscode-webview://1a2b`.

A pattern is an origin in which a `*` may stand

    alone                        *                        every page
    for the whole host           chrome-extension://*     every host, and every port without one
    for the beginning of a host  https://*.example.org    every name below it, not the name itself
    within a label               https://x-*.example.org  letters, digits and hyphens
    in an address in numbers     http://192.168.1.*:3000
    for the port                 http://localhost:*       every port, the scheme's own too

It may not end a name: whoever owns `localhost.example.org` could be meant by `localhost*`. `null`
is the origin of every sandboxed page and no pattern. Not: deciding who is let in
(`umad.gateway.door.hosts`). Pure.
"""

import re
from dataclasses import dataclass

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\s/?#@:\[\]]*)(?::(\d{1,5}|\*))?/?")
_PLAIN_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]*")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_NUMBERS = re.compile(r"[0-9.*]+")
_WEB = ("http", "https")


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginPattern:
    """The origins that a user allows by one word."""

    # As the user wrote it, in small letters.
    text: str
    expression: re.Pattern[str]

    @classmethod
    def read(cls, text: str) -> "OriginPattern":
        """The pattern that `text` stands for. Raises `ValueError`, saying what is wrong."""
        lowered = text.strip().lower()
        if lowered == "*":
            return cls(text=lowered, expression=re.compile(r"(?!null$).+"))
        if lowered == "null":
            raise ValueError("null is the origin of every sandboxed page and cannot be allowed")
        found = _ORIGIN.fullmatch(lowered)
        if found is None:
            raise ValueError("it is no SCHEME://HOST[:PORT]")
        scheme, host = found[1], found[2]
        if scheme in _WEB and not host:
            raise ValueError("it has no host")
        return cls(
            text=lowered,
            expression=re.compile(f"{re.escape(scheme)}://{_host(host)}{_port(found)}"),
        )

    def fits(self, origin: str) -> bool:
        """Whether the pattern allows a page of `origin`."""
        return self.expression.fullmatch(normal(origin)) is not None

    @property
    def is_any(self) -> bool:
        """Whether every page is allowed."""
        return self.text == "*"


def normal(origin: str) -> str:
    """An origin in small letters, without a slash at its end and without its scheme's own port."""
    lowered = origin.strip().lower().rstrip("/")
    if lowered.endswith(":"):  # "file://", whose host is empty
        return f"{lowered}//"
    for scheme, port in _DEFAULT_PORTS.items():
        if lowered.startswith(f"{scheme}://"):
            return lowered.removesuffix(f":{port}")
    return lowered


def as_flag(origin: str) -> str | None:
    """The flag that allows pages of `origin`, for advice; None for what is no plain origin. The
    text comes from a page, so it is advised only where it has no characters but those of a name.
    """
    plain = normal(origin)
    if not _PLAIN_ORIGIN.fullmatch(plain):
        return None
    try:
        OriginPattern.read(plain)
    except ValueError:
        return None
    return f"--cors-origin {plain}"


def _host(host: str) -> str:
    """The expression for a host. Raises `ValueError` for a `*` that ends a name."""
    if host == "*":
        return r"(?:[^\s/?#@:\[\]]+|\[[0-9a-f:.]+\])"
    if "*" not in host:
        return re.escape(host)
    if _NUMBERS.fullmatch(host) and host[0].isdigit():
        return r"\d{1,3}".join(re.escape(part) for part in host.split("*"))
    first = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*" if host.startswith("*.") else r"[a-z0-9_-]+"
    end = host.rpartition("*")[2]
    if "." not in end.rstrip(".") or end.endswith("."):
        raise ValueError(
            "a * may stand for the beginning of a host, as in https://*.example.org, not for its "
            "end: anybody can have a name that begins so"
        )
    pieces = host.split("*")
    rest = r"[a-z0-9_-]+".join(re.escape(part) for part in pieces[1:])
    return re.escape(pieces[0]) + first + rest


def _port(found: re.Match[str]) -> str:
    scheme, host, port = found[1], found[2], found[3]
    if port == "*" or (host == "*" and port is None):
        return r"(?::\d{1,5})?"
    if port is None or port == _DEFAULT_PORTS.get(scheme):
        return ""
    return f":{port}"
