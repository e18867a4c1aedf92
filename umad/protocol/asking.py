"""Defines what every request of a client has: an id and, where a front end asks for somebody else,
the asker. Values only.
"""

from dataclasses import dataclass

from umad.asker import Asker

RequestId = int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The fields of every request."""

    id: RequestId
    # The asker, where a front end asks for somebody else; None for the connection's own process.
    asker: Asker | None = None
