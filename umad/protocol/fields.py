"""Reads single fields from outside: (name, value) -> checked value, or `BadRequest`.

Each reader checks the type, and the limits that later checks rely on. The request itself checks
ranges that have a meaning (`umad.request`). An error never quotes a value, because it may be a
prompt.
"""

import difflib
import math
from collections.abc import Callable, Iterable
from typing import Any

from umad.errors import BadRequest
from umad.request import MAX_LOGIT_BIAS, MAX_STOPS, MAX_TOKEN_ID

FieldReader = Callable[[str, Any], Any]

MAX_ID_CHARS = 128
MAX_NAME_CHARS = 256
MAX_MODEL_CHARS = 4096  # it may be a path
# Most characters of a name in an error message. It comes from outside and may be anything.
QUOTED_CHARS = 64

_KINDS: dict[type, str] = {
    str: "a string",
    bytes: "binary",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    list: "an array",
    dict: "a map",
    type(None): "null",
}


def kind_of(value: Any) -> str:
    """The type of `value` in a client's words."""
    return _KINDS.get(type(value), "an extension type")


def quoted(name: Any) -> str:
    """A name from outside, short enough for an error message. Keys may also be bytes or numbers."""
    text = name if isinstance(name, str) else repr(name)
    return repr(text[:QUOTED_CHARS])


def nearest(name: Any, known: Iterable[str]) -> str:
    """A hint at the end of an error message; empty where no known name is similar to `name`."""
    if not isinstance(name, str):
        return ""
    near = difflib.get_close_matches(name[:QUOTED_CHARS], list(known), n=3)
    return f"; did you mean {', '.join(near)}?" if near else ""


def wrong(name: str, wanted: str, value: Any) -> BadRequest:
    """The error for a value of the wrong type."""
    return BadRequest(f"{name} must be {wanted}, not {kind_of(value)}", field=name)


def read_text(name: str, value: Any) -> str:
    """Any string."""
    if not isinstance(value, str):
        raise wrong(name, "a string", value)
    return value


def text_of(max_chars: int) -> Callable[[str, Any], str]:
    """A reader of names: 1 to `max_chars` characters."""

    def read_name(name: str, value: Any) -> str:
        text = read_text(name, value)
        if not 0 < len(text) <= max_chars:
            raise BadRequest(f"{name} has 1 to {max_chars} characters", field=name)
        return text

    return read_name


read_name = text_of(MAX_NAME_CHARS)
read_model = text_of(MAX_MODEL_CHARS)


def read_id(name: str, value: Any) -> int | str:
    """A request's id: an integer or a short string."""
    if type(value) is int:
        return value
    if not isinstance(value, str):
        raise wrong(name, "an integer or a string", value)
    if not 0 < len(value) <= MAX_ID_CHARS:
        raise BadRequest(f"{name} has 1 to {MAX_ID_CHARS} characters", field=name)
    return value


def read_integer(name: str, value: Any) -> int:
    """An integer; a boolean is not one."""
    if type(value) is not int:
        raise wrong(name, "an integer", value)
    return value


def read_count(name: str, value: Any) -> int:
    """An integer from 0 to the largest that engines count with."""
    number = read_integer(name, value)
    if not 0 <= number <= MAX_TOKEN_ID:
        raise BadRequest(f"{name} is between 0 and {MAX_TOKEN_ID}", field=name)
    return number


def read_number(name: str, value: Any) -> float:
    """A finite number, as a float."""
    if type(value) is int:
        return float(value)
    if type(value) is not float:
        raise wrong(name, "a number", value)
    if not math.isfinite(value):
        raise BadRequest(f"{name} must be a finite number", field=name)
    return value


def read_flag(name: str, value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise wrong(name, "a boolean", value)
    return value


def read_texts(name: str, value: Any) -> tuple[str, ...]:
    """An array of strings."""
    if not isinstance(value, list):
        raise wrong(name, "an array of strings", value)
    for at, one in enumerate(value):
        if not isinstance(one, str):
            raise wrong(f"{name}[{at}]", "a string", one)
    return tuple(value)


def read_stop(name: str, value: Any) -> tuple[str, ...]:
    """One stop string or an array of them."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and len(value) > MAX_STOPS:
        raise BadRequest(f"at most {MAX_STOPS} stop strings", field=name)
    return read_texts(name, value)


def read_token_ids(name: str, value: Any) -> tuple[int, ...]:
    """An array of token ids. The engine checks that the model has them."""
    if not isinstance(value, list):
        raise wrong(name, "an array of integers", value)
    # Checks of the whole array are fast: a prompt may have a hundred thousand ids.
    if not set(map(type, value)) <= {int}:
        at = next(at for at, one in enumerate(value) if type(one) is not int)
        raise wrong(f"{name}[{at}]", "an integer", value[at])
    if value and not 0 <= min(value) <= max(value) <= MAX_TOKEN_ID:
        raise BadRequest(f"{name}: a token id is between 0 and {MAX_TOKEN_ID}", field=name)
    return tuple(value)


def read_token_id(name: str, value: Any) -> int:
    """A token id. The engine checks that the model has it."""
    return read_count(name, value)


def read_logit_bias(name: str, value: Any) -> tuple[tuple[int, float], ...]:
    """An array of [token id, bias]."""
    if not isinstance(value, list):
        raise wrong(name, "an array of [token id, bias]", value)
    if len(value) > MAX_LOGIT_BIAS:
        raise BadRequest(f"at most {MAX_LOGIT_BIAS} biased tokens", field=name)
    pairs = []
    for at, pair in enumerate(value):
        place = f"{name}[{at}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadRequest(f"{place} must be [token id, bias]", field=place)
        (token,) = read_token_ids(place, pair[:1])
        pairs.append((token, read_number(place, pair[1])))
    return tuple(pairs)
