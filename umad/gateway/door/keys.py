"""Reads the file of API keys, and finds the owner of a key.

    keys:                       # or simply one key a line
      - name: laptop
        key: sk-...
        app: zed                # the app its work counts for; default: the name
        lane: background        # the highest its work may run in; default: any
        role: admin             # default: user, who sees and touches only what is its own
        requests_per_minute: 60
        tokens_per_minute: 100000

Keys are kept as digests. A key is compared with every one of them in constant time. What a key owns
belongs to its digest, because names may be given to others and lines of a file move. Not: counting
quotas (`door.quotas`). Read once at start.
"""

import difflib
import hashlib
import hmac
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from umad.asker import MACHINE_USER, ROLES, Asker
from umad.errors import BadConfig
from umad.gateway.errors import Unauthorized
from umad.private_file import read_named

MAX_FILE_BYTES = 2**20
MIN_KEY_CHARS = 8
_NAME = re.compile(r"[\w.:@+-]{1,64}")
_KEY = re.compile(rf"\S{{{MIN_KEY_CHARS},512}}")
_FIELDS = ("name", "key", "app", "lane", "role", "requests_per_minute", "tokens_per_minute")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The sender of a request, as the gateway knows it."""

    name: str
    # None lets the daemon name the gateway itself.
    app: str | None = None
    # The same sender as the daemon knows it; the daemon decides by it what the sender may do.
    asker: Asker = MACHINE_USER
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


# The caller if no keys are set.
ANYBODY = Caller(name="-")
# The caller of endpoints that need no key, such as the health of the gateway.
NOBODY = Caller(name="-", asker=Asker(owner="nobody", role="user"))


def owner_of(key: str) -> str:
    """The owner behind a key. It is not the digest that keys are compared by, because it is written
    to disk.
    """
    return f"key:{hashlib.sha256(b'umad owner ' + key.encode()).hexdigest()[:32]}"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class Keyring:
    """Every key. If there are none, every caller comes in as `ANYBODY`."""

    def __init__(self, keys: tuple[tuple[str, Caller], ...] = ()) -> None:
        self._callers = tuple((_digest(key), caller) for key, caller in keys)

    @property
    def is_open(self) -> bool:
        """Whether no key is asked for."""
        return not self._callers

    def caller(self, key: str | None) -> Caller:
        """The caller that a key belongs to. Raises `Unauthorized`."""
        if self.is_open:
            return ANYBODY
        if not key:
            raise Unauthorized("an API key is needed: Authorization: Bearer KEY, or x-api-key: KEY")
        given = _digest(key)
        found = None
        for digest, caller in self._callers:
            # No early end: so the time taken does not tell which key was nearly right.
            if hmac.compare_digest(given, digest):
                found = caller
        if found is None:
            raise Unauthorized("the API key is not known here")
        return found


def read_keys(path: Path) -> Keyring:
    """The keys of a file. Raises `BadConfig` with the file and the entry that is wrong."""
    try:
        raw = read_named(path, MAX_FILE_BYTES + 1, secret=True)
        if len(raw) > MAX_FILE_BYTES:
            raise BadConfig(f"{path}: a file of keys is at most {MAX_FILE_BYTES} bytes")
        root = yaml.safe_load(raw.decode())
    except OSError as error:
        raise BadConfig(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadConfig(f"{path}: not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        # The problem's own text may quote a key.
        raise BadConfig(f"{path}{line}: neither YAML nor one key a line") from error
    if not isinstance(root, dict):
        lines = raw.decode().split("\n")
        plain = [one.strip() for one in lines if one.strip() and not one.startswith("#")]
        root = {"keys": [{"name": f"key-{at}", "key": one} for at, one in enumerate(plain, 1)]}
    rows = root.get("keys")
    if set(root) != {"keys"} or not isinstance(rows, list) or not rows:
        raise BadConfig(f"{path}: a file of keys is a map with a list of keys", field="keys")
    keys = [_entry(path, at, row) for at, row in enumerate(rows)]
    names = [caller.name for _, caller in keys]
    for name in names:
        if names.count(name) > 1:
            raise BadConfig(f"{path}: two keys are called {name!r}", field="keys")
    return Keyring(tuple(keys))


def _entry(path: Path, at: int, row: object) -> tuple[str, Caller]:
    """One entry of the list. Its errors never quote its values, because one of them is the key."""

    def wrong(field: str, wants: str) -> BadConfig:
        return BadConfig(f"{path}: keys.{at}.{field} {wants}", field=f"keys.{at}.{field}")

    if not isinstance(row, dict):
        raise BadConfig(f"{path}: keys.{at} is no map of name and key", field=f"keys.{at}")
    for field in row:
        if field not in _FIELDS:
            near = difflib.get_close_matches(str(field), _FIELDS, n=1, cutoff=0.0)[0]
            raise wrong("", f"has a field {str(field)[:32]!r}; did you mean {near}?")
    key = row.get("key")
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise wrong("key", f"must be a text of {MIN_KEY_CHARS} to 512 characters without spaces")
    for field in ("name", "app", "lane"):
        value = row.get(field)
        if (value is not None or field == "name") and not (
            isinstance(value, str) and _NAME.fullmatch(value)
        ):
            raise wrong(field, "must be a name: letters, digits and . _ - : @ +")
    for field in ("requests_per_minute", "tokens_per_minute"):
        value = row.get(field)
        if value is not None and not (type(value) is int and value > 0):
            raise wrong(field, "must be a whole number above zero")
    role = row.get("role", "user")
    if role not in ROLES:
        raise wrong("role", f"must be {' or '.join(ROLES)}")
    return key, Caller(
        name=row["name"],
        app=row.get("app") or row["name"],
        asker=Asker(owner=owner_of(key), role=role, lane=row.get("lane")),
        requests_per_minute=row.get("requests_per_minute"),
        tokens_per_minute=row.get("tokens_per_minute"),
    )
