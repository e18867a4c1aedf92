"""Reads what an editor may set: `initializationOptions`, or the section `umad` of its settings.

    {"lane": "interactive", "completion": {"model": "", "lines": "auto", "debounce_ms": 60}}

The VS Code extension has the same names. A wrong value is refused by its name; nothing is guessed.
Values only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from umad.errors import BadRequest
from umad.infill.manner import Lines
from umad.protocol.fields import nearest
from umad.request import INTERACTIVE

MAX_DEBOUNCE_MS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class LspSettings:
    """The settings of one editor."""

    lane: str = INTERACTIVE
    # Completions are shown; an editor that has a switch of its own need not set it.
    enabled: bool = True
    # As a person writes it; None for the first that can fill in the middle, else the first.
    model: str | None = None
    lines: Lines = "auto"
    # Milliseconds without a key before the daemon is asked.
    debounce_ms: int = 60
    # What the editor calls itself; no setting.
    app: str | None = None


_OUTER = ("lane", "completion")
_INNER = ("enabled", "model", "lines", "debounce_ms")


def settings_of(value: Any, defaults: LspSettings | None = None) -> LspSettings:
    """The settings in what the editor sent. Raises `BadRequest`, naming the setting."""
    base = LspSettings() if defaults is None else defaults
    outer = _map("umad", value, _OUTER)
    inner = _map("completion", outer.get("completion"), _INNER)
    lane = _text("lane", outer.get("lane")) or base.lane
    model = _text("completion.model", inner.get("model")) or base.model
    lines = inner.get("lines", base.lines)
    if lines not in get_args(Lines):
        raise BadRequest(
            f"completion.lines must be one of {', '.join(get_args(Lines))}",
            field="completion.lines",
        )
    enabled = inner.get("enabled", base.enabled)
    if not isinstance(enabled, bool):
        raise BadRequest("completion.enabled must be true or false", field="completion.enabled")
    return LspSettings(
        lane=lane,
        enabled=enabled,
        model=model,
        lines=lines,
        debounce_ms=_debounce_ms(inner.get("debounce_ms", base.debounce_ms)),
        app=base.app,
    )


def _map(name: str, value: Any, known: tuple[str, ...]) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadRequest(f"{name} must be an object of settings", field=name)
    for key in value:
        if key not in known:
            raise BadRequest(f"there is no setting {key} of {name}{nearest(key, known)}", field=key)
    return {key: one for key, one in value.items() if one is not None}


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"{name} must be a text", field=name)
    return value.strip()


def _debounce_ms(value: Any) -> int:
    # Lua has no integers: Neovim may send 60.0.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_DEBOUNCE_MS:
        raise BadRequest(
            f"completion.debounce_ms must be a whole number from 0 to {MAX_DEBOUNCE_MS}",
            field="completion.debounce_ms",
        )
    return value
