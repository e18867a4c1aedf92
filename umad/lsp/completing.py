"""Completes at a cursor: waits for a quiet moment, and ends an earlier request of the same file.

Editors cancel a request when the next key comes, but not all, and not at once. A request that comes
while another of its file runs ends that one: at most one is at the daemon for each file.
Owner: the server's loop.
"""

import asyncio
from collections.abc import Awaitable, Callable

from umad.infill.cut import cut_around
from umad.infill.ghost import Asked, Ghost, GhostWriter
from umad.infill.manner import manner_of
from umad.lsp.documents import Document, Place
from umad.lsp.settings import LspSettings

Sleep = Callable[[float], Awaitable[None]]
_MS_PER_S = 1000


class InlineCompleter:
    """Answers requests for completions, one at a time for each file."""

    def __init__(self, writer: GhostWriter, *, sleep: Sleep = asyncio.sleep) -> None:
        self._writer = writer
        self._sleep = sleep
        self._running: dict[str, asyncio.Task[Ghost]] = {}

    async def complete(
        self,
        document: Document,
        place: Place,
        settings: LspSettings,
        *,
        name: str,
        project: str,
        is_automatic: bool,
    ) -> Ghost | None:
        """What is shown at `place`; None for nothing, also where a later request took over.

        Raises the `UmadError` that the daemon answered with. Cancelling the wait cancels the
        request at the daemon.
        """
        self.end(document.uri)
        if is_automatic and not settings.enabled:
            return None
        lines = document.lines
        line = min(place.line, len(lines) - 1)
        cut = cut_around(lines.__getitem__, len(lines), line, document.column(place))
        manner = manner_of(cut, lines=settings.lines, is_automatic=is_automatic)
        if manner is None:
            return None
        asked = Asked(
            cut=cut,
            manner=manner,
            name=name,
            project=project,
            model=settings.model,
            lane=settings.lane,
            app=settings.app,
        )
        if (known := self._writer.remembered(asked)) is not None:
            return known if known.text else None
        wait_ms = settings.debounce_ms if is_automatic else 0
        work = asyncio.ensure_future(self._asked(asked, wait_ms))
        self._running[document.uri] = work
        try:
            ghost = await work
        except asyncio.CancelledError:
            own = asyncio.current_task()
            if own is not None and own.cancelling():
                raise
            return None
        finally:
            if self._running.get(document.uri) is work:
                del self._running[document.uri]
        return ghost if ghost.text else None

    def end(self, uri: str) -> None:
        """End what runs for this file, if anything does; its request is answered with nothing."""
        earlier = self._running.pop(uri, None)
        if earlier is not None:
            earlier.cancel()

    def forget(self) -> None:
        """The settings changed: earlier answers do not hold."""
        self._writer.forget()

    async def _asked(self, asked: Asked, wait_ms: int) -> Ghost:
        if wait_ms:
            await self._sleep(wait_ms / _MS_PER_S)
        return await self._writer.write(asked)
