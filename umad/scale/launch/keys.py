"""Names API keys, makes them, and says what a machine elsewhere gets of them. Pure but for chance.

A machine gets digests only: the SHA-256 of the header that a client sends. Whoever reads the
machine's memory or SkyPilot's files finds no key there. That holds for keys that nobody can guess,
so umad makes them: 256 bits of chance.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping

from umad.errors import BadRequest

_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,30}[a-z0-9])?")
MOST_KEYS = 1000


def make(names: tuple[str, ...]) -> dict[str, str]:
    """A new key for each name. Raises `BadRequest` for a name twice, or for none."""
    if not names or len(names) > MOST_KEYS:
        raise BadRequest(f"there are 1 to {MOST_KEYS} keys", field="keys")
    for name in names:
        if not _NAME.fullmatch(name):
            raise BadRequest(
                f"{name[:40]!r} is no name of a key: small letters, digits, dashes", field="keys"
            )
    if len(set(names)) < len(names):
        raise BadRequest("two keys have one name", field="keys")
    return {name: f"sk-{secrets.token_urlsafe(32)}" for name in names}


def digest(key: str) -> str:
    """SHA-256 of the header `Authorization: Bearer KEY`, in small hexadecimal digits."""
    return hashlib.sha256(f"Bearer {key}".encode()).hexdigest()


def digests(keys: Mapping[str, str]) -> str:
    """The map that HAProxy reads: a digest and a name a line."""
    return "".join(f"{digest(key)} {name}\n" for name, key in sorted(keys.items()))
