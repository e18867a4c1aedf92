"""Checks that an engine's messages have the types they should have.

An engine runs a model file from anywhere, so its messages are checked before the daemon acts on
them, lists them or passes them on. A wrong value must not cause an error later, in somebody else's
request. A step's tokens (`link.STEP_TOKENS`) are the hot path and are not checked here: only their
completion's own client reads them (`umad.daemon.fanout`, `damage.damaged_id`). Pure.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, get_args

from umad.errors import ProtocolViolation
from umad.protocol.link import (
    Emitted,
    Ended,
    EngineReady,
    EngineReply,
    Fatal,
    FromEngine,
    LoadProgress,
    Prefilled,
    Rejected,
    Scored,
    StepReport,
    StepStats,
)
from umad.request import FinishReason
from umad.step import CARRIED_MOST

# Most bytes of one frame of an engine. The largest are the vectors of 2,048 texts, 32 KiB each.
MAX_ENGINE_FRAME_BYTES = 2**28
# Most characters of codes, messages and names; a message needs no whole traceback.
_MOST_CHARS = 8192
_MOST_LANES = 1024
_MOST_COUNT = 2**63
MOST_MS = 1e12
_MOST_ID = 2**31
_REASONS = frozenset(get_args(FinishReason))

Check = Callable[[Any], bool]


def check_words(message: Any) -> FromEngine:
    """`message`, if it is one of an engine's. Raises `ProtocolViolation` naming the field."""
    checks = _CHECKS.get(type(message))
    if checks is None:
        raise ProtocolViolation(f"an engine says no {type(message).__name__}")
    _checked(message, checks)
    words: FromEngine = message
    return words


def _is_time_ms(value: Any) -> bool:
    """Whether the value is a length of time in milliseconds."""
    return type(value) in (float, int) and 0 <= value < MOST_MS


def _is_share(value: Any) -> bool:
    return type(value) in (float, int) and 0 <= value <= 1


def _checked(value: Any, checks: Mapping[str, Check]) -> None:
    for name, holds in checks.items():
        if not holds(getattr(value, name)):
            raise ProtocolViolation(f"{type(value).__name__}.{name} is not what an engine says")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST_COUNT


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST_ID


def _is_carried(value: Any) -> bool:
    return type(value) is int and 0 <= value <= CARRIED_MOST


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_word(value: Any) -> bool:
    return type(value) is str and len(value) <= _MOST_CHARS


def _is_word_or_none(value: Any) -> bool:
    return value is None or _is_word(value)


def _is_number(value: Any) -> bool:
    return type(value) in (float, int) and not math.isnan(value)


def _are_ids(value: Any) -> bool:
    return type(value) is tuple and all(map(_is_id, value))


def _are_words(value: Any) -> bool:
    return type(value) is tuple and all(map(_is_word, value))


def _is_pair(value: Any) -> bool:
    return type(value) is tuple and len(value) == 2


def _is_alternative(value: Any) -> bool:
    return _is_pair(value) and _is_id(value[0]) and _is_number(value[1])


def _is_logprob(value: Any) -> bool:
    if not (_is_pair(value) and _is_number(value[0]) and type(value[1]) is tuple):
        return False
    return all(map(_is_alternative, value[1]))


def _are_logprobs(value: Any) -> bool:
    return value is None or (type(value) is tuple and all(map(_is_logprob, value)))


def _is_row(value: Any) -> bool:
    return _is_pair(value) and all(map(_is_count, value))


def _are_rows(value: Any) -> bool:
    return type(value) is tuple and all(map(_is_row, value))


def _are_lanes(value: Any) -> bool:
    return (
        type(value) is dict
        and len(value) <= _MOST_LANES
        and all(_is_word(name) and _is_count(count) for name, count in value.items())
    )


def _are_places(value: Any) -> bool:
    return type(value) is dict and all(map(_is_text, value)) and all(map(_is_count, value.values()))


def _are_waits(value: Any) -> bool:
    if value is None:
        return True
    return type(value) is dict and all(map(_is_count, value)) and all(map(_is_word, value.values()))


def _is_error(value: Any) -> bool:
    if value is None:
        return True
    return type(value) is tuple and len(value) == 3 and all(map(_is_word_or_none, value))


_COUNTED_FACTS = (
    "size_bytes",
    "n_cells",
    "max_seqs",
    "text_tokens",
    "embed_tokens",
    "n_params",
    # What it takes of the memory decides about other models.
    "context_bytes",
    "park_bytes",
    "paged_bytes",
    "kv_cell_bytes",
)


def _are_facts(value: Any) -> bool:
    """Check the types of the facts that the daemon itself uses; the others are only listed."""
    if type(value) is not dict or not all(map(_is_word, value)):
        return False
    counts = map(value.get, _COUNTED_FACTS)
    return all(one is None or _is_count(one) for one in counts) and all(
        _are_words(value.get(name, ())) for name in ("backends", "devices")
    )


def _each(kind: type) -> Check:
    checks = _PARTS[kind]

    def holds(values: Any) -> bool:
        if type(values) is not tuple:
            return False
        for one in values:
            _checked(one, checks)
        return True

    return holds


def _is_stats(value: Any) -> bool:
    if value is not None:
        _checked(value, _PARTS[StepStats])
    return True


_PARTS: dict[type, Mapping[str, Check]] = {
    Emitted: {"rid": _is_count, "ids": _are_ids, "text": _is_text, "logprobs": _are_logprobs},
    Ended: {
        "rid": _is_count,
        "reason": lambda value: _is_word(value) and value in _REASONS,
        "prompt_tokens": _is_count,
        "cached_tokens": _is_count,
        "completion_tokens": _is_count,
        "stop": lambda value: value is None or _is_text(value),
    },
    Rejected: {
        "rid": _is_count,
        "code": _is_word,
        "message": _is_word,
        "field": _is_word_or_none,
    },
    Scored: {
        "rid": _is_count,
        "start": _is_count,
        "before": _is_id,
        "ids": _are_ids,
        "logprobs": lambda value: type(value) is tuple and all(map(_is_logprob, value)),
    },
    Prefilled: {"rid": _is_count, "done_tokens": _is_count, "total_tokens": _is_count},
    StepStats: {
        **dict.fromkeys(StepStats.__dataclass_fields__, _is_count),
        "device_ms": _is_time_ms,
        "coreless_ms": _is_time_ms,
        "speculation_gain": _is_time_ms,
        "adapter_switch_ms": _is_time_ms,
        "cut_ms": _is_time_ms,
        "waiting": _are_lanes,
        "waits": _are_waits,
        "prompt_changes": _are_places,
    },
}
_CHECKS: dict[type, Mapping[str, Check]] = {
    EngineReady: {"facts": _are_facts},
    Fatal: {"code": _is_word, "message": _is_word},
    StepReport: {
        "emitted": _each(Emitted),
        "ended": _each(Ended),
        "rejected": _each(Rejected),
        "prefilled": _each(Prefilled),
        "scored": _each(Scored),
        "logits": _are_rows,
        "stats": _is_stats,
        "solo_ms": _is_time_ms,
        "carried": _is_carried,
        "medium": _is_word_or_none,
    },
    EngineReply: {"call": _is_count, "error": _is_error},
    LoadProgress: {"share": _is_share},
}
