"""Counts the streams that tell of changes, and ends them when the gateway ends.

Such a stream has no end of its own, and a gateway that shuts down waits for running answers. Owner:
one event loop.
"""

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Watchers:
    """The open streams of one gateway."""

    n: int = 0
    # Set once the gateway shuts down.
    closing: asyncio.Event = field(default_factory=asyncio.Event)
