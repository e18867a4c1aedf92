"""Makes the headers by which a router knows what a request belongs to. Pure.

A router looks for the model and the conversation in bodies of JSON, and a frame is none. So they
are told in headers: `X-Umad-Model`, and `X-Umad-Session` with the session's name or, without one, a
digest of the conversation's beginning, which all its turns have in common.
"""

import hashlib
import re
from collections.abc import Sequence

from umad.asker import Asker
from umad.conversation import ChatMessage
from umad.protocol import messages
from umad.protocol.messages import Request
from umad.request import GenerateRequest

SESSION_HEADER = "x-umad-session"
MODEL_HEADER = "x-umad-model"
_OPENING_CHARS = 4096
_INSTRUCTIONS = ("system", "developer")
# What may stand in a header: no control characters, no blank at an end.
_PLAIN = re.compile(r"[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?")
_MOST_CHARS = 512


def placing_headers(request: Request, *, draw: int = 0) -> dict[str, str]:
    """The headers of a request. draw: 1 and more for another machine than the one that the
    conversation has, which turned out to have another model.
    """
    found = {}
    asked = request.request if isinstance(request, messages.Generate | messages.Embed) else None
    model = getattr(asked if asked is not None else request, "model", None)
    if isinstance(request, messages.Rerank | messages.Transcribe):
        model = request.request.model
    if model and _PLAIN.fullmatch(model) and len(model) <= _MOST_CHARS:
        found[MODEL_HEADER] = model
    talk = _talk(asked) if isinstance(asked, GenerateRequest) else ""
    if talk:
        found[SESSION_HEADER] = _named(talk, request.asker) + (f" {draw}" if draw else "")
    return found


def _talk(request: GenerateRequest) -> str:
    """The conversation's name, or a digest of its beginning."""
    if request.session:
        return request.session
    if request.messages:
        opening = _opening(request.messages)
    elif request.prompt is not None:
        opening = request.prompt[:_OPENING_CHARS]
    else:
        opening = str((request.prompt_ids or ())[:_OPENING_CHARS])
    return f"opening {_digest(opening)}"


def _opening(turns: Sequence[ChatMessage]) -> str:
    """A chat's first message, and the second one too if the first is an instruction."""
    first = turns[0].content
    second = turns[1].content if len(turns) > 1 and turns[0].role in _INSTRUCTIONS else ""
    return ((first or "") + (second or ""))[:_OPENING_CHARS]


def _named(talk: str, asker: Asker | None) -> str:
    """As it may stand in a header. Sessions of one name belong to their owners."""
    name = talk if asker is None or not asker.owner else f"{asker.owner} {talk}"
    if _PLAIN.fullmatch(name) and len(name) <= _MOST_CHARS:
        return name
    return f"digest {_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
