"""Describes what to forget and what was forgotten. Values only.

A session is forgotten wherever the engine keeps something of it: cells of the pool, host memory,
its file. A live request continues, and what it leaves is deleted when it ends.
"""

from dataclasses import dataclass

from umad.session_names import asked_name


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetScope:
    """One session, or all that an owner has here: sessions, and what other requests left."""

    # The name of one session; None for everything.
    session: str | None = None
    # Without a session: the owner. None for all owners.
    owner: str | None = None
    # With an owner: the prefix of the names of its sessions. Files hold only the name.
    prefix: str = ""

    @property
    def is_everything(self) -> bool:
        """Whether the scope covers everything of everybody."""
        return self.session is None and self.owner is None

    def takes(self, session: str | None, owner: str) -> bool:
        """Whether the scope covers what is kept for `session` of `owner`."""
        if self.session is not None:
            return session is not None and asked_name(session) == self.session
        return self.owner is None or owner == self.owner

    def takes_file(self, session: str) -> bool:
        """Whether the scope covers the file of `session`."""
        if self.session is not None:
            return asked_name(session) == self.session
        return self.owner is None or (bool(self.prefix) and session.startswith(self.prefix))


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """Names of the sessions that were forgotten."""

    # Deleted now.
    sessions: frozenset[str] = frozenset()
    # Deleted when the requests that run in them end.
    in_use: frozenset[str] = frozenset()
    # Those whose files are being removed.
    files: frozenset[str] = frozenset()
