"""Reads single values in the spellings that clients send and that have one obvious meaning.

Whole numbers come as 64, 64.0 or "64"; truth values as true, "true" or 1; a limit of -1 is no
limit. Everything else is refused. The table is in docs/compatibility.md. Pure.
"""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictInt

from umad.gateway.bodies.durations import seconds_of
from umad.request import MAX_LOGIT_BIAS, MAX_TOKEN_ID

# The largest values that `umad.request` takes. A larger one means the same: all there is.
MOST_TOKENS = 10_000_000
MOST_TOP_K = 1_000_000
# Stands for the whole prompt: no reader would notice a repetition farther back.
WHOLE_PROMPT_TOKENS = 1_000_000
# Of one body, and the length of each.
MOST_BIASED_TEXTS = 256
MOST_BIASED_CHARS = 256
MOST_INDENT = 2**31 - 1
# So low that no other token stands behind it. Frames carry finite numbers only.
_BANNED = -1e9
_WHOLE = re.compile(r"[+-]?\d{1,20}(\.0+)?")
_FLAGS = {"true": True, "false": False}
_ID = re.compile(r"[+-]?\d+")


def _whole(value: Any) -> Any:
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value.strip().partition(".")[0])
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number, not true or false")
    return value


def read_flag(value: Any) -> Any:
    """A truth value in any spelling; anything else as it is."""
    if isinstance(value, str):
        return _FLAGS.get(value.strip().lower(), value)
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    return value


def _no_shift(value: bool) -> bool:
    if value:
        raise ValueError("the context is never shifted; an answer ends where its context does")
    return value


def _limit(*ends: int, least: int) -> BeforeValidator:
    """A limit of tokens: at least `least`, or one of `ends`, which mean that there is none."""

    def limit(value: Any) -> Any:
        wanted = _whole(value)
        if wanted is None:
            raise ValueError("a whole number, or -1 for no limit")
        if type(wanted) is not int:
            return wanted
        if wanted in ends:
            return None
        if wanted < least:
            raise ValueError(f"a limit is at least {least}, or -1 for none")
        return min(wanted, MOST_TOKENS)

    return BeforeValidator(limit)


def _off_below(value: Any) -> Any:
    wanted = _whole(value)
    if type(wanted) is not int:
        return wanted
    return 0 if wanted == -1 else min(wanted, MOST_TOP_K)


def _window(value: Any) -> Any:
    wanted = _whole(value)
    return WHOLE_PROMPT_TOKENS if type(wanted) is int and wanted == -1 else wanted


def _stops(value: Any) -> Any:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    # Clients send an empty one where they mean none.
    return tuple([one for one in value if one is not None and one != ""])


def _alternatives(value: Any) -> Any:
    return None if value is False else _whole(value)


def _keep_alive(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("seconds, or a duration such as 5m")
    if isinstance(value, str) and not value.strip():
        return None
    return seconds_of(value)


def _biases(value: Any) -> Any:
    if isinstance(value, dict):
        # As the keys of JSON are texts, one that looks like a number is a token's id.
        pairs = [(_id_of(key), bias) for key, bias in value.items()]
    elif isinstance(value, list):
        pairs = [_pair(one) for one in value]
    else:
        raise ValueError("a map from tokens to numbers, or a list of [token, number]")
    if len(pairs) > MAX_LOGIT_BIAS:
        raise ValueError(f"at most {MAX_LOGIT_BIAS} tokens")
    if sum([isinstance(token, str) for token, _ in pairs]) > MOST_BIASED_TEXTS:
        raise ValueError(f"at most {MOST_BIASED_TEXTS} texts; give ids of tokens for more")
    return tuple([(_token(token), _bias(bias)) for token, bias in pairs if bias is not None])


def _pair(value: Any) -> tuple[Any, Any]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("a pair is [token, number]")
    return (value[0], value[1])


def _id_of(key: Any) -> Any:
    return int(key) if isinstance(key, str) and len(key) <= 20 and _ID.fullmatch(key) else key


def _token(value: Any) -> int | str:
    token = _whole(value) if isinstance(value, float) else value
    if isinstance(token, str) and 0 < len(token) <= MOST_BIASED_CHARS:
        return token
    if type(token) is int and 0 <= token <= MAX_TOKEN_ID:
        return token
    raise ValueError(f"a token is its id, from 0, or a text of 1 to {MOST_BIASED_CHARS} characters")


def _bias(value: Any) -> float:
    if value is False:
        return _BANNED
    try:
        if not isinstance(value, bool):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError("a bias is a number, or false for a token that may not be written")


AS_WHOLE = BeforeValidator(_whole)
AS_NUMBER = BeforeValidator(_number)

# 64, 64.0 or "64".
Whole = Annotated[StrictInt, AS_WHOLE]
# 0.5 or "0.5".
Number = Annotated[float, AS_NUMBER]
# true, "true" or 1.
Flag = Annotated[StrictBool, BeforeValidator(read_flag)]
# How many alternatives are told beside each token; false is none at all.
# A context is never shifted: a text without its beginning is another text.
NoShift = Annotated[StrictBool, BeforeValidator(read_flag), AfterValidator(_no_shift)]
Alternatives = Annotated[StrictInt | None, BeforeValidator(_alternatives)]
# A limit of an answer's tokens. -1 is no limit, and 0 stays 0.
AnyLimit = Annotated[StrictInt | None, _limit(-1, least=0)]
# The same where no tokens would be no answer: 0 is no limit, too.
Limit = Annotated[StrictInt | None, _limit(-1, 0, least=1)]
# The same as llama.cpp and Ollama write it: -2 is to fill the context.
LlamaLimit = Annotated[StrictInt | None, _limit(-1, -2, least=0)]
# The same where 0 is refused, as Anthropic does.
PositiveLimit = Annotated[StrictInt | None, _limit(-1, least=1)]
# 0 and -1 are off.
TopK = Annotated[StrictInt, BeforeValidator(_off_below)]
# A number of last tokens; -1 is the whole prompt.
Window = Annotated[StrictInt, BeforeValidator(_window)]
# One text or a list of texts, without the empty ones.
Stops = Annotated[
    tuple[str, ...], BeforeValidator(_stops, json_schema_input_type=str | list[str | None])
]
# A map or a list of pairs, from ids or texts to numbers, or to false for never.
Biases = Annotated[
    tuple[tuple[int | str, float], ...],
    BeforeValidator(
        _biases,
        json_schema_input_type=dict[str, float | bool | None]
        | list[tuple[int | str, float | bool | None]],
    ),
]
# Blanks at the beginning of a line.
LineIndent = Annotated[StrictInt, Field(ge=0, le=MOST_INDENT), AS_WHOLE]
# Seconds, or a duration as Go writes it ("5m"). A negative one means for ever.
KeepAlive = Annotated[
    float | None, BeforeValidator(_keep_alive, json_schema_input_type=float | str)
]
