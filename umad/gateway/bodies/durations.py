"""Reads how long Ollama's clients want to keep a model: seconds, or a Go duration. Pure."""

import math
import re

_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0}
_UNIT_S |= {"m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_PLAIN = re.compile(r"\d+(?:\.\d*)?|\.\d+")


def seconds_of(value: float | str) -> float:
    """Seconds of `value`; infinite if it is negative. Raises `ValueError`."""
    if isinstance(value, str):
        return _parsed_s(value.strip())
    if math.isnan(value):
        raise ValueError("keep_alive is no duration")
    return float(value) if value >= 0 else math.inf


def _parsed_s(text: str) -> float:
    sign, rest = (text[:1], text[1:]) if text[:1] in ("-", "+") else ("", text)
    if _PLAIN.fullmatch(rest):
        # Go wants a unit. Ollama's own setting and its clients write "-1" and "300", which are
        # seconds.
        seconds = float(rest)
    else:
        parts = list(_PART.finditer(rest))
        if not parts or "".join(part.group() for part in parts) != rest:
            raise ValueError(f"{text!r} is no duration; write seconds, or one like 5m or 1h30m")
        seconds = sum(float(part[1]) * _UNIT_S[part[2]] for part in parts)
    return math.inf if sign == "-" and seconds else seconds
