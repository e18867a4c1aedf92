"""Counts the streams that tell of changes, ends them when the gateway ends, and tells them which
models were removed.

Such a stream has no end of its own, and a gateway that shuts down waits for running answers. Owner:
one event loop.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

_MOST_REMOVED = 64


@dataclass(slots=True, kw_only=True)
class Watchers:
    """The open streams of one gateway."""

    n: int = 0
    # Set once the gateway shuts down.
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    # How many models were removed by this gateway's callers, and the names of the last ones.
    n_removed: int = 0
    _removed: deque[str] = field(default_factory=lambda: deque(maxlen=_MOST_REMOVED))

    def note_removed(self, model: str) -> None:
        """A model was removed."""
        self.n_removed += 1
        self._removed.append(model)

    def removed_since(self, seen: int) -> list[str]:
        """The models that were removed since there were `seen` of them."""
        n_new = min(self.n_removed - seen, len(self._removed))
        return list(self._removed)[len(self._removed) - n_new :]
