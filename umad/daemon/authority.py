"""Decides who may ask the daemon for what, from one table.

    anybody   generate, chat, embed, rerank, transcribe, tokenize, detokenize, render, models,
              adapters, load, ping
    own       cancel, priority, sessions, forget, logits.attach, logits.choose, jobs, job,
              job.cancel: of one's own only
    admin     unload, estimate, metrics, pull, quantize, model.remove, model.copy, preset.save

A user gets less of the "anybody" row than an admin: `models` without files, processes and others'
work (`umad.daemon.listing`), `load` only by the names in `umad.daemon.names`, lanes up to the
user's own (`umad.daemon.identity`). A thing that belongs to somebody else is answered as if it did
not exist.
A request that has no row here is refused to users, so a new verb is closed until somebody decides.
Not: who the asker is (`umad.asker`); the kernel and the gateway's door establish that. Pure.
"""

from collections.abc import Mapping
from typing import Literal

from umad.asker import MACHINE_USER, Asker
from umad.errors import EngineFailed, ModelLoadFailed, ModelTooLarge, Refused, UmadError
from umad.protocol import messages
from umad.protocol.messages import Request
from umad.session_names import asked_name

Reach = Literal["anybody", "own", "admin"]
REACH: Mapping[type, Reach] = {
    messages.Generate: "anybody",
    messages.Embed: "anybody",
    messages.Rerank: "anybody",
    messages.Transcribe: "anybody",
    messages.Tokenize: "anybody",
    messages.Detokenize: "anybody",
    messages.Render: "anybody",
    messages.Models: "anybody",
    messages.Adapters: "anybody",
    messages.Load: "anybody",
    messages.Ping: "anybody",
    messages.Cancel: "own",
    messages.Priority: "own",
    messages.Sessions: "own",
    messages.Forget: "own",
    messages.AttachLogits: "own",
    messages.ChooseToken: "own",
    messages.Jobs: "own",
    messages.GetJob: "own",
    messages.CancelJob: "own",
    messages.Unload: "admin",
    messages.Estimate: "admin",
    messages.Metrics: "admin",
    messages.Pull: "admin",
    messages.Quantize: "admin",
    messages.RemoveModel: "admin",
    messages.CopyModel: "admin",
    messages.SavePreset: "admin",
}
# Joins an owner and its name for a session. No owner contains this character.
_BETWEEN = "\x00"


def admit(request: Request) -> Asker:
    """The asker of `request`. Raises `Refused` where it may not send such a request at all."""
    asker = request.asker or MACHINE_USER
    if not asker.is_admin and REACH.get(type(request), "admin") == "admin":
        verb = type(request).__name__.lower()
        raise Refused(f"{verb} is for admins: use a key with `role: admin`")
    return asker


def session_key(owner: str, session: str | None) -> str | None:
    """The name under which engines keep a session: unique to its owner.

    The machine's user has plain names, so that session files from before owners existed keep
    working.
    """
    if session is None or not owner:
        return session
    return f"{owner}{_BETWEEN}{session}"


def sessions_of(owner: str) -> str:
    """The prefix of the engines' names of an owner's sessions; "" for the machine's user."""
    return f"{owner}{_BETWEEN}" if owner else ""


def session_name(key: str) -> str:
    """The name that the owner gave a session."""
    return asked_name(key.rpartition(_BETWEEN)[2])


def told_to(asker: Asker, error: UmadError, model: str) -> UmadError:
    """`error` about a model, in the form `asker` may see: a user learns nothing about files."""
    if asker.is_admin or not isinstance(error, ModelLoadFailed | EngineFailed):
        return error
    kind = ModelTooLarge if isinstance(error, ModelTooLarge) else type(error)
    return kind(f"{model} cannot be had now; the log of the daemon says why", field=error.field)
