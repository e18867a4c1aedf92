"""Describes who asks: one value, set where a request comes in and checked against all it touches.

    the machine's user   a process of the user who runs umad: on the socket, or over HTTP where no
                         keys are set and the system says whose the connection is
    an admin key         may do what the machine's user may; its conversations are its own
    a user key           sees and touches what is its own, in lanes up to its own
    a page               of another origin, allowed without keys: as a user key
    another machine      let in without keys: as a user key, one for each address

The gateway's door sets it (`umad.gateway.door.entrance`), every message to the daemon carries it,
and the daemon decides by it (`umad.daemon.authority`). So a gateway that forgets a check reveals
nothing.
A message without an asker counts as the connected process's own, and the kernel says that this
process belongs to the machine's user. So naming an asker takes rights away and never gives any.
`FACTS_FOR_USERS` are the facts of a model that a user is told.
Not: the lane of the work (`umad.daemon.identity`), nor the app it counts as. Pure.
"""

from dataclasses import dataclass
from typing import Literal

Role = Literal["admin", "user"]
ROLES: tuple[Role, ...] = ("admin", "user")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Somebody who sends requests."""

    # Any text; it is only compared. Requests, sessions, stored responses and prefixes of one owner
    # belong to one person. "" is the machine's user.
    owner: str = ""
    role: Role = "admin"
    # The highest lane its work may run in; None for any.
    lane: str | None = None

    @property
    def is_admin(self) -> bool:
        """Whether it may touch what others own, name files, load and unload models."""
        return self.role == "admin"

    def may_touch(self, owner: str) -> bool:
        """Whether it sees and touches what belongs to `owner`."""
        return self.is_admin or owner == self.owner


MACHINE_USER = Asker()

# The facts of a model that a user sees: those a client needs to talk to it. The place of its file,
# its process, and how busy others keep it are left out.
FACTS_FOR_USERS = (
    "name",
    "state",
    "architecture",
    "description",
    "size_bytes",
    "n_params",
    "n_layer",
    "n_embd",
    "n_head_kv",
    "n_vocab",
    "n_ctx_train",
    "n_cells",
    "max_seqs",
    "ctx",
    "seqs",
    "modified_s",
    "kv_type",
    "backend",
    "devices",
    "has_chat_template",
    "chat_family",
    "thinking",
    "takes_tools",
    "media",
    "bos_token",
    "adds_bos",
    "eog_tokens",
    "fim_tokens",
    "generates",
    "transcribes",
    "languages",
    "pooling",
    "embed_tokens",
    "embed_width",
    "rests_in_s",
)
