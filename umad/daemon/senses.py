"""Names a model that takes images or sounds, where another one was asked about one.

Not: what an engine takes (`umad.engine.chats.unseen`). Pure.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from umad.content import MEDIA_NAMES
from umad.errors import MediaUnsupported


class KnownEngine(Protocol):
    """An engine, as far as its model's senses are known."""

    name: str
    # As `EngineReady` told them last; empty until then.
    facts: Mapping[str, Any]


def naming_others(
    error: MediaUnsupported, kind: str, engines: Iterable[KnownEngine]
) -> MediaUnsupported:
    """`error` of a model that takes no file of `kind`, with the name of one here that does."""
    names = [one.name for one in engines if kind in one.facts.get("media", ())]
    what = MEDIA_NAMES[kind]
    hint = (
        f"{' and '.join(names)} here can be asked about {what}"
        if names
        else f"no model that was loaded here can be asked about {what}"
    )
    return MediaUnsupported(f"{error.message}; {hint}", field=error.field)
