"""Makes the parts of a daemon that answer work without a journal: vectors and transcripts."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from umad.asker import Asker
from umad.clock import Clock
from umad.config import LimitSettings
from umad.daemon.admission import Admission
from umad.daemon.app_shares import AppShares
from umad.daemon.embeddings import EmbeddingRequests
from umad.daemon.task_prefixes import TaskPrefixes
from umad.daemon.transcriptions import Transcriptions
from umad.metrics.scorecard import Scorecard
from umad.models.library import Library


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherWork:
    """Both kinds."""

    embeddings: EmbeddingRequests
    transcriptions: Transcriptions

    def __len__(self) -> int:
        return len(self.embeddings) + len(self.transcriptions)

    def cancel(self, request: str, asker: Asker) -> bool:
        """Cancel a request of either kind by the daemon's name for it. Returns False where there is
        none that `asker` may touch.
        """
        return self.embeddings.cancel(request, asker) or self.transcriptions.cancel(request, asker)

    async def idle(self) -> None:
        """Wait until no request of either kind is live."""
        await self.embeddings.idle()
        await self.transcriptions.idle()


def other_work(
    *,
    admission: Admission,
    shares: AppShares,
    scorecard: Scorecard,
    clock: Clock,
    limits: LimitSettings,
    rids: Iterator[int],
    library: Library | None,
) -> OtherWork:
    """The parts of one daemon. rids: numbers for the scorecard."""
    return OtherWork(
        embeddings=EmbeddingRequests(
            admission=admission,
            shares=shares,
            scorecard=scorecard,
            clock=clock,
            most=limits.queue,
            rids=rids,
            prefixes=TaskPrefixes(library),
        ),
        transcriptions=Transcriptions(
            admission=admission,
            shares=shares,
            scorecard=scorecard,
            clock=clock,
            most=limits.queue,
            rids=rids,
            own_uid=os.getuid(),
        ),
    )
