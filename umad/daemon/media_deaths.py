"""Counts the deaths of engines at images and sounds, and refuses what ended one twice.

An engine says which medium it is about to compute, and when it is done. If it dies between, that
medium is blamed. A second death at it ends the requests that have it, so that every other request
of the engine goes on, and later ones with it are refused. Pure. Owner: the daemon's event loop.
"""

import hashlib
from collections import OrderedDict

from umad.content import MEDIA_NAMES
from umad.errors import BadMedia
from umad.protocol.link import Submit

# A death may have another cause, such as a lack of memory.
MOST_DEATHS = 2
# Media that are remembered, some hundred bytes each.
_MOST_KNOWN = 4096


class MediaDeaths:
    """The media of all engines that one died at."""

    def __init__(self) -> None:
        # What each engine computes now: content ids by the engine's name.
        self._now: dict[str, str] = {}
        # Deaths by engine and content id, the latest last.
        self._deaths: OrderedDict[tuple[str, str], int] = OrderedDict()

    def computes(self, engine: str, content_id: str) -> None:
        """An engine is about to compute a medium; "" once it is done."""
        if content_id:
            self._now[engine] = content_id
        else:
            self._now.pop(engine, None)

    def died(self, engine: str) -> bool:
        """An engine died. Returns whether a medium is refused from now on."""
        content_id = self._now.pop(engine, "")
        if not content_id:
            return False
        key = (engine, content_id)
        self._deaths[key] = self._deaths.pop(key, 0) + 1
        if len(self._deaths) > _MOST_KNOWN:
            self._deaths.popitem(last=False)
        return self._deaths[key] >= MOST_DEATHS

    def refusal(self, engine: str, submit: Submit) -> BadMedia | None:
        """Why a request is refused; None where it is not."""
        if not submit.media:
            return None
        refused = {
            content_id
            for (name, content_id), n in self._deaths.items()
            if name == engine and n >= MOST_DEATHS
        }
        for kind, data, place, _ in submit.media if refused else ():
            if hashlib.sha256(data).hexdigest() in refused:
                return BadMedia(
                    f"the model's engine ended {MOST_DEATHS} times at {MEDIA_NAMES[kind]} of this "
                    "request, so it is not tried again",
                    field=place or None,
                )
        return None
