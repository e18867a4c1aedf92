"""Fetches a model that a request names and that is not here, where the configuration allows it.

Only for those who may pull (`umad.daemon.authority`). The fetch is a job like any other
(`umad.jobs`): requests that name one model wait for one job, and it goes on when they have left. A
text that names nothing to be fetched, and a file, are refused as they are without this.
Not: what a text means (`umad.jobs.ordering`). Owner: the daemon's event loop.
"""

import asyncio
import logging

from umad.adapters import parted
from umad.asker import Asker
from umad.config import Settings
from umad.daemon.job_verbs import JobVerbs
from umad.errors import BadRequest, DeadlineExceeded, UnknownModel
from umad.jobs.ordering import pull_order
from umad.models.library import Library
from umad.models.reference import parse
from umad.protocol import messages

log = logging.getLogger(__name__)

_QUOTED_CHARS = 128


class AutoPull:
    """The fetches that one daemon's requests begin."""

    def __init__(self, jobs: JobVerbs, library: Library, settings: Settings) -> None:
        self._jobs = jobs
        self._library = library
        # What was fetched would not be loaded without `lazy_load`, nor kept without a store.
        self._is_on = settings.auto_pull and settings.lazy_load and library.store is not None

    def is_for(self, model: str | None, asker: Asker) -> bool:
        """True where a model that is not loaded is to be fetched for a request that names it."""
        if not self._is_on or model is None or not asker.is_admin:
            return False
        base = parted(model)[0]
        try:
            if self._library.find(base) is not None:
                return True  # it is here, under a text that says less than its whole name
            order = pull_order(base, self._library.catalogue)
            return parse(order.reference).kind != "file"
        except (UnknownModel, BadRequest):
            return False

    async def fetched(self, model: str, asker: Asker, *, deadline_ms: int | None = None) -> str:
        """Fetch a model, and return the name to ask for it, with the adapters of `model`. Raises
        the error that its job failed with, `Cancelled`, or `DeadlineExceeded`.
        """
        base, adapters = parted(model)
        found = self._library.find(base)
        if found is None:
            log.info("model is fetched for a request model=%s", base[:_QUOTED_CHARS])
            try:
                async with asyncio.timeout(deadline_ms and deadline_ms / 1e3):
                    row = await self._jobs.pull(messages.Pull(id=0, model=base), asker)
                    row = await self._jobs.finished(row, asker)
            except TimeoutError:
                raise DeadlineExceeded(
                    f"{base[:_QUOTED_CHARS]} was not fetched within {deadline_ms} ms; its job goes "
                    "on: umad jobs"
                ) from None
            found = self._library.find(base)
            if found is None:
                return f"{row['result']['name']}{adapters}"
        return f"{found.name}{adapters}"
