"""Makes the key by which a conversation is recognised. Pure.

A conversation is recognised by, in this order:

    1. the session that its client names, in the header `X-Umad-Session` or the field `session`
    2. its beginning: the texts up to the first turn of the user, which all later turns repeat

Whose key the request came with is part of it, and so is the model. So two users with one session's
name do not meet, and nobody finds out where another's conversation is.
A request that names no session and has no text has no key: nothing of it is worth going back to.

HAProxy makes the same key in its configuration (`umad.router.haproxy.rendering`), which has no more
than a hash and a concatenation. So each part is hashed, and then the hashes together. That also
keeps two lists of parts from giving one key, and API keys out of HAProxy's tables. For a session
with a name both keys are equal, so its place can be looked up and pinned. A beginning is text in
JSON, of which HAProxy leaves some escapes as they are, so it may have a key of its own there.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SESSION_HEADER = "x-umad-session"
# So much of a beginning counts. The rest is the same in nearly all conversations that agree so far,
# and HAProxy sees only what fits its buffer.
OPENING_CHARS = 4096
# Roles whose turns stand before the first one of the user.
_INSTRUCTIONS = ("system", "developer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What of a request says where it goes."""

    # None: the node's own default.
    model: str | None = None
    # The value of the header with the API key, as it came; "" without one.
    credential: str = ""
    session: str | None = None
    # The beginning of the conversation, by `opening_of`; "" where there is none.
    opening: str = ""


def session_key(asked: Asked) -> str | None:
    """64 hexadecimal digits in capitals, as HAProxy's `hex` writes them; None without a session."""
    if asked.session:
        talk = "session " + asked.session
    elif asked.opening:
        talk = "opening " + asked.opening
    else:
        return None
    return _hash(_hash(asked.credential) + _hash(talk) + _hash(asked.model or ""))


def opening_of(body: Mapping[str, Any]) -> str:
    """The beginning of a conversation, from the body of a request; "" where there is none.

    A chat's is its first message, and the second one too if the first is an instruction. A
    prompt's is the prompt.
    """
    messages = body.get("messages")
    if isinstance(messages, Sequence) and not isinstance(messages, str) and messages:
        first, second = _content(messages, 0), ""
        if isinstance(messages[0], Mapping) and messages[0].get("role") in _INSTRUCTIONS:
            second = _content(messages, 1)
        return (first + second)[:OPENING_CHARS]
    prompt = body.get("prompt")
    return prompt[:OPENING_CHARS] if isinstance(prompt, str) else ""


def _content(messages: Sequence[Any], index: int) -> str:
    """A message's text. Of one with parts, those that are text."""
    message = messages[index] if index < len(messages) else None
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, Mapping))
    return "".join(text for text in texts if isinstance(text, str))


def _hash(text: str) -> str:
    # Clients may send half of a surrogate pair.
    data = text.encode(errors="surrogatepass")
    return hashlib.sha256(data).hexdigest().upper()
