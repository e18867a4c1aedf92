"""Names what is kept of a session under different adapters.

A session whose turns are asked with and without an adapter has cells of both kinds, and a file for
each. None of them may be taken for another, because a cell holds what its adapters made of a token.
So the engine keeps the session under its name and the key of the adapters. Whoever asks about the
session means all of them.
Pure.
"""

# Before the key of the adapters, which never contains it.
_BETWEEN = "\x01"


def kept_name(session: str | None, adapters: str) -> str | None:
    """The name under which an engine keeps `session` for requests with these adapters; "" for none.
    No two pairs have one name.
    """
    if session is None or (not adapters and _BETWEEN not in session):
        return session
    return f"{session}{_BETWEEN}{adapters}"


def asked_name(kept: str) -> str:
    """The session that an engine keeps under the name `kept`."""
    return kept.rpartition(_BETWEEN)[0] if _BETWEEN in kept else kept
