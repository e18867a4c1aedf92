"""Keeps invitations: a machine that shows one gets a certificate, once.

A token is what a person carries from the router to the machine that joins:

    <SHA-256 of the authority's certificate>.<secret of 256 bits>

The first half lets the machine know the router before it trusts anybody, the second half lets the
router know the machine. Of the secret only a digest is kept, with a time at which it runs out, and
it is gone once it was used.
Blocks for as long as a file takes. Owner: anybody's thread.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout
from typing_extensions import override

from umad.errors import BadConfig, BadRequest, LimitExceeded, Refused
from umad.private_file import read_own, write_own
from umad.router.members import check_node_name

# A person carries a token from one machine to another.
VALID_S: Final = 3600
# So many may be open at once. More is no team but a mistake, and each is a way in.
_MOST_OPEN = 256
_MOST_FILE_BYTES = 1 << 20
_LOCKED_WITHIN_S = 10.0
_UNKNOWN: Final = "the token is unknown, used or too old; ask for another: umad router invite NAME"
_TOKEN: Final = re.compile(r"([0-9a-f]{64})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a machine shows."""

    # SHA-256 of the authority's certificate.
    fingerprint: str
    secret: str

    @override
    def __str__(self) -> str:
        return f"{self.fingerprint}.{self.secret}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """An invitation that nobody has used yet."""

    digest: str
    # The name that the machine gets.
    name: str
    # Seconds since 1970: it outlives the router's process.
    ends_s: int


def token_of(text: str) -> Token:
    """Raises BadRequest for what is no token; it is never quoted, because it may be one nearly."""
    found = _TOKEN.fullmatch(text.strip())
    if found is None:
        raise BadRequest(
            "the token is not one of `umad router invite`: part of it may be missing", field="token"
        )
    return Token(fingerprint=found[1], secret=found[2])


class Invitations:
    """The open invitations of one router."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def invite(self, name: str, *, fingerprint: str, now_s: int, valid_s: int = VALID_S) -> Token:
        """A token for one machine. An older one for the same name is void."""
        check_node_name(name)
        secret = secrets.token_urlsafe(32)
        made = _Open(digest=_digest(secret), name=name, ends_s=now_s + valid_s)

        def added(open_: list[_Open]) -> list[_Open]:
            others = [one for one in open_ if one.name != name]
            if len(others) >= _MOST_OPEN:
                raise LimitExceeded(f"{_MOST_OPEN} invitations are open already")
            return [*others, made]

        self._change(added, now_s)
        return Token(fingerprint=fingerprint, secret=secret)

    def name_of(self, secret: str, *, now_s: int) -> str:
        """The name that the machine with this secret would get. Raises Refused as `use` does."""
        digest = _digest(secret)
        for one in self._read():
            if hmac.compare_digest(one.digest, digest) and one.ends_s > now_s:
                return one.name
        raise Refused(_UNKNOWN)

    def use(self, secret: str, *, now_s: int) -> str:
        """The name that the machine with this secret gets. The invitation is used up.

        Raises Refused for a secret that is unknown, used or too old: the same words for all three.
        """
        digest, names = _digest(secret), list[str]()

        def without(open_: list[_Open]) -> list[_Open]:
            names.extend(one.name for one in open_ if hmac.compare_digest(one.digest, digest))
            return [one for one in open_ if one.digest != digest]

        self._change(without, now_s)
        if not names:
            raise Refused(_UNKNOWN)
        return names[0]

    def _change(self, made: Callable[[list[_Open]], list[_Open]], now_s: int) -> None:
        lock = FileLock(f"{self._path}.lock", timeout=_LOCKED_WITHIN_S, mode=0o600)
        try:
            with lock:
                old = self._read()
                new = made([one for one in old if one.ends_s > now_s])
                if new != old:
                    rows = [asdict(one) for one in new]
                    write_own(self._path, json.dumps(rows, indent=1).encode() + b"\n")
        except Timeout:
            raise BadConfig(f"{self._path} is locked by another program") from None
        except OSError as error:
            raise BadConfig(f"{self._path}: {error.strerror}") from error

    def _read(self) -> list[_Open]:
        try:
            rows = json.loads(read_own(self._path, _MOST_FILE_BYTES))
            return [_Open(**row) for row in rows]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BadConfig(f"{self._path}: {error.strerror}") from error
        except (ValueError, TypeError) as error:
            raise BadConfig(f"{self._path} is no list of invitations: {error}") from error


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
