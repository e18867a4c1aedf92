"""Holds what all requests of one gateway share: settings, the daemon, the door, counts.

`umad.gateway.app` makes it once; the parts own their own state. Owner: one event loop.
"""

from collections.abc import Callable
from dataclasses import dataclass

from umad.config import HttpSettings
from umad.gateway.aliases import Aliases
from umad.gateway.counts import Counts
from umad.gateway.door.entrance import Entrance
from umad.gateway.door.places import Bodies, Places
from umad.gateway.door.quotas import Quotas
from umad.gateway.following import JobFollowers
from umad.gateway.model_facts import ModelFactsCache
from umad.gateway.presets import Presets
from umad.gateway.remote.files import RemoteFiles
from umad.gateway.responses_store import ResponsesStore
from umad.gateway.spans import Spans
from umad.gateway.token_bytes import TokenBytes
from umad.gateway.watchers import Watchers
from umad.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The parts of one gateway."""

    settings: HttpSettings
    # The daemon, asked for the gateway itself; requests of a caller go through
    # `GatewayCall.service`.
    service: Service
    aliases: Aliases
    presets: Presets
    entrance: Entrance
    quotas: Quotas
    places: Places
    bodies: Bodies
    remote: RemoteFiles
    counts: Counts
    models: ModelFactsCache
    token_bytes: TokenBytes
    store: ResponsesStore
    watchers: Watchers
    jobs: JobFollowers
    # The log may show prompts and completions.
    verbose: bool
    # Makes traces; None where there are none.
    spans: Spans | None
    # A name for a caller without a key, from its User-Agent.
    app_name: Callable[[str | None], str | None]
