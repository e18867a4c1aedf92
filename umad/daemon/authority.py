"""Who may ask the daemon for what: one table, and the one place that decides by it.

    anybody   generate, chat, embed, rerank, tokenize, detokenize, models, load, ping
    own       cancel, priority, sessions, forget, logits.attach, logits.choose: of one's own only
    admin     unload, metrics

Of what anybody may, a user gets less: `models` without files, processes and others' work
(`umad.daemon.listing`), `load` by the names in `umad.daemon.names`, lanes up to its own
(`umad.daemon.identity`). What belongs to somebody else is answered like what is not there.
A request that has no row here is refused, so a new verb is nobody's until somebody decides.
Not: who asks (`umad.asker`), which the kernel and the gateway's door settle. Pure.
"""

from collections.abc import Mapping
from typing import Literal

from umad.asker import MACHINE_USER, Asker
from umad.errors import EngineFailed, ModelLoadFailed, ModelTooLarge, Refused, UmadError
from umad.protocol import messages
from umad.protocol.messages import Request

Reach = Literal["anybody", "own", "admin"]
REACH: Mapping[type, Reach] = {
    messages.Generate: "anybody",
    messages.Embed: "anybody",
    messages.Rerank: "anybody",
    messages.Tokenize: "anybody",
    messages.Detokenize: "anybody",
    messages.Models: "anybody",
    messages.Load: "anybody",
    messages.Ping: "anybody",
    messages.Cancel: "own",
    messages.Priority: "own",
    messages.Sessions: "own",
    messages.Forget: "own",
    messages.AttachLogits: "own",
    messages.ChooseToken: "own",
    messages.Unload: "admin",
    messages.Metrics: "admin",
}
# Joins an owner and its name for a session; no owner has it in it.
_BETWEEN = "\x00"


def admit(request: Request) -> Asker:
    """For whom `request` is asked. Raises `Refused` where that one may not ask it at all."""
    asker = request.asker or MACHINE_USER
    if not asker.is_admin and REACH.get(type(request), "admin") == "admin":
        verb = type(request).__name__.lower()
        raise Refused(f"{verb} is for admins: use a key with `role: admin`")
    return asker


def session_key(owner: str, session: str | None) -> str | None:
    """The name under which engines keep a session: that of its owner, and of nobody else.

    The machine's user has plain names, as files of sessions from before there were owners.
    """
    if session is None or not owner:
        return session
    return f"{owner}{_BETWEEN}{session}"


def sessions_of(owner: str) -> str:
    """What the engines' names of an owner's sessions begin with; "" is in none of them."""
    return f"{owner}{_BETWEEN}" if owner else ""


def session_name(key: str) -> str:
    """The name that the owner gave a session."""
    return key.rpartition(_BETWEEN)[2]


def told_to(asker: Asker, error: UmadError, model: str) -> UmadError:
    """`error` about a model, as `asker` may hear it: a user learns nothing of files."""
    if asker.is_admin or not isinstance(error, ModelLoadFailed | EngineFailed):
        return error
    kind = ModelTooLarge if isinstance(error, ModelTooLarge) else type(error)
    return kind(f"{model} cannot be had now; the log of the daemon says why", field=error.field)
