"""Who asks: one value, settled where a request comes in and held against everything it touches.

    the machine's user   a process of the user who runs umad: on the socket, or over HTTP where no
                         keys are set and the system says whose the connection is
    an admin key         may do what the machine's user may; its conversations are its own
    a user key           sees and touches what is its own, in lanes up to its own
    a page               of another origin, allowed without keys: as a user key
    another machine      let in without keys: as a user key, one for each address

The door settles it (`umad.gateway.door.entrance`), every message to the daemon carries it, and the
daemon decides by it (`umad.daemon.authority`): a gateway that forgets a check gives nothing away.
A message that names nobody is its own process's, which the kernel says is the machine's user's. So
naming somebody takes rights away and never gives any.
Not: which lane work runs in (`umad.daemon.identity`), nor which app it counts as. Pure.
"""

from dataclasses import dataclass
from typing import Literal

Role = Literal["admin", "user"]
ROLES: tuple[Role, ...] = ("admin", "user")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """One who asks.

    owner: opaque. Requests, sessions, stored responses and prefixes of one owner are one person's;
    "" is the machine's user. lane: the highest lane its work may run in; None for any.
    """

    owner: str = ""
    role: Role = "admin"
    lane: str | None = None

    @property
    def is_admin(self) -> bool:
        """It may touch what others own, name files, load and unload models."""
        return self.role == "admin"

    def may_touch(self, owner: str) -> bool:
        """Whether it sees and touches what belongs to `owner`."""
        return self.is_admin or owner == self.owner


MACHINE_USER = Asker()
