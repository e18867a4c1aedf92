"""What is to be forgotten, and what came of it. Values only.

A session is forgotten wherever the engine keeps something of it: cells of the pool, host memory,
its file. A live request goes on, and what it leaves is given up when it ends.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetScope:
    """One session, or all that an owner has here: sessions, and what requests without one left."""

    # By its name. None for everything.
    session: str | None = None
    # With no session: whose. None for everybody's.
    owner: str | None = None
    # With an owner: what the names of its sessions begin with. Files bear only the name.
    prefix: str = ""

    @property
    def is_everything(self) -> bool:
        """Of everybody."""
        return self.session is None and self.owner is None

    def takes(self, session: str | None, owner: str) -> bool:
        """Whether something kept for `session` of `owner` is to go."""
        if self.session is not None:
            return session == self.session
        return self.owner is None or owner == self.owner

    def takes_file(self, session: str) -> bool:
        """Whether the file of `session` is to go."""
        if self.session is not None:
            return session == self.session
        return self.owner is None or (bool(self.prefix) and session.startswith(self.prefix))


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What there was. Names of sessions."""

    # Given up now.
    sessions: frozenset[str] = frozenset()
    # Given up when the requests that run in them end.
    in_use: frozenset[str] = frozenset()
    # Those whose files are being removed.
    files: frozenset[str] = frozenset()
