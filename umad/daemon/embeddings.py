"""Answers requests to embed and to rerank: accepts, lists and cancels them.

Each request is one call to its engine, or several for a library of texts (`embed_parts`). The open
call takes the place of a journal: when an engine dies, the next one receives the call again. Not:
bytes of a connection (`umad.daemon.session`) or streams (`completions`).
Owner: the daemon's event loop.
"""

import asyncio
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from umad.asker import MACHINE_USER, Asker
from umad.clock import Clock
from umad.daemon.admission import Admission
from umad.daemon.app_shares import AppShares
from umad.daemon.embed_parts import Parts
from umad.daemon.engine import Engine
from umad.daemon.generation import Recipient
from umad.daemon.identity import own_process
from umad.daemon.task_prefixes import TaskPrefixes
from umad.embedding import EmbedRequest, RerankRequest
from umad.errors import DeadlineExceeded, QueueFull
from umad.metrics.scorecard import Scorecard
from umad.request import FinishReason

# While the engine computes one part, it makes tokens of the next.
PARTS_AT_ONCE = 2


@dataclass(slots=True, kw_only=True, eq=False)
class Embedding:
    """One live request to embed or to rerank."""

    # The daemon's name for it.
    request: str
    # Its number on the scorecard.
    rid: int
    recipient: Recipient
    engine: Engine
    # embed or rerank.
    op: str
    lane: str
    # The rule that chose the lane, in words.
    lane_by: str
    app: str
    owner: str
    n_inputs: int
    accepted_ns: int
    # The task that waits for the engine's answer; `cancel` cancels it.
    task: "asyncio.Task[Any] | None"

    @property
    def whose(self) -> str:
        """By whom it is counted (`umad.daemon.app_shares`)."""
        return self.owner or self.app


class EmbeddingRequests:
    """The live requests to embed or to rerank of one daemon.

    most: how many may be live at once. rids: numbers for the scorecard. prefixes: what models want
    before texts.
    """

    def __init__(
        self,
        *,
        admission: Admission,
        shares: AppShares,
        scorecard: Scorecard,
        clock: Clock,
        most: int,
        rids: Iterator[int],
        prefixes: TaskPrefixes | None = None,
    ) -> None:
        self._admission = admission
        self._shares = shares
        self._scorecard = scorecard
        self._clock = clock
        self._most = most
        self._prefixes = prefixes or TaskPrefixes(None)
        self._live: dict[str, Embedding] = {}
        self._rids = rids
        self._names = itertools.count(1)
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()

    def __iter__(self) -> Iterator[Embedding]:
        return iter(self._live.values())

    def __len__(self) -> int:
        return len(self._live)

    async def idle(self) -> None:
        """Wait until no request is live."""
        await self._idle.wait()

    def cancel(self, request: str, asker: Asker = MACHINE_USER) -> bool:
        """Cancel a request by the daemon's name for it. Returns False where there is none that
        `asker` may touch.
        """
        live = self._live.get(request)
        if live is None or live.task is None or not asker.may_touch(live.owner):
            return False
        live.task.cancel()
        return True

    async def answer(
        self,
        recipient: Recipient,
        engine: Engine,
        asked: EmbedRequest | RerankRequest,
        asker: Asker = MACHINE_USER,
    ) -> Mapping[str, Any]:
        """The value that answers `asked`.

        Raises the engine's error, `QueueFull`, `BadRequest` for an unknown lane or a task that the
        model does not have, and `DeadlineExceeded`.
        """
        live = self._accept(recipient, engine, asked, asker)
        reason: FinishReason = "error"
        n_texts = n_cached = 0
        try:
            async with asyncio.timeout(asked.deadline_ms and asked.deadline_ms / 1e3):
                value = await _worked(engine, Parts.of(live.op, await self._args(live, asked)))
            reason = "stop"
            n_texts, n_cached = live.n_inputs, int(value.pop("cached_inputs", 0))
        except TimeoutError:
            raise DeadlineExceeded(
                f"the request had not ended {asked.deadline_ms} ms after it came"
            ) from None
        except asyncio.CancelledError:
            reason = "cancelled"
            raise
        finally:
            now_ns = self._clock.now_ns()
            self._scorecard.ended(live.rid, reason, now_ns, texts=n_texts, texts_cached=n_cached)
            del self._live[live.request]
            self._shares.ended(live.whose, 1)
            if not self._live:
                self._idle.set()
        return {"model": engine.name, **value}

    async def _args(
        self, live: Embedding, asked: EmbedRequest | RerankRequest
    ) -> Mapping[str, Any]:
        """The arguments of the engine's call."""
        who = {"lane": live.lane, "app": live.app, "owner": live.owner}
        if isinstance(asked, RerankRequest):
            return {
                "query": asked.query,
                "documents": asked.documents,
                "top_n": asked.top_n,
                "truncate": asked.truncate,
                **who,
            }
        return {
            "inputs": asked.inputs,
            "dimensions": asked.dimensions,
            "normalize": asked.normalize,
            "truncate": asked.truncate,
            "prefix": await self._prefix(live.engine, asked),
            **who,
        }

    async def _prefix(self, engine: Engine, asked: EmbedRequest) -> str:
        if asked.task is None:
            return ""
        # A model that is being loaded has not told its maker's name for it yet.
        title = str((await engine.told()).get("title", ""))
        return self._prefixes.of(asked, name=engine.name, path=engine.path, title=title)

    def _accept(
        self,
        recipient: Recipient,
        engine: Engine,
        asked: EmbedRequest | RerankRequest,
        asker: Asker,
    ) -> Embedding:
        if len(self._live) >= self._most:
            raise QueueFull(
                f"{len(self._live)} requests to embed wait already, at most {self._most} may; "
                "try again later"
            )
        app = asked.app or recipient.identity.app
        path, parents = own_process(recipient.identity, asked.app)
        choice = self._admission.lane_of(app, asked.lane, path=path, parents=parents, asker=asker)
        lane = choice.lane
        self._shares.check(asker.owner or app, 1, app=app)
        live = Embedding(
            request=f"e{next(self._names)}",
            rid=next(self._rids),
            recipient=recipient,
            engine=engine,
            op="embed" if isinstance(asked, EmbedRequest) else "rerank",
            lane=lane,
            lane_by=choice.by,
            app=app,
            owner=asker.owner,
            n_inputs=len(asked.inputs) if isinstance(asked, EmbedRequest) else len(asked.documents),
            accepted_ns=self._clock.now_ns(),
            task=asyncio.current_task(),
        )
        self._live[live.request] = live
        self._shares.began(live.whose, 1)
        self._idle.clear()
        self._scorecard.accepted(live.rid, engine.name, lane, app, live.accepted_ns)
        return live


async def _worked(engine: Engine, parts: Parts) -> dict[str, Any]:
    """Have an engine answer all parts, and join the answers. Raises the first error."""
    answers: dict[int, Mapping[str, Any]] = {}
    left = iter(enumerate(parts.calls))

    async def work() -> None:
        for at, args in left:
            answers[at] = await engine.work(parts.op, args)

    if len(parts.calls) == 1:
        await work()
    else:
        workers = [asyncio.create_task(work()) for _ in range(PARTS_AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
    return parts.joined([answers[at] for at in range(len(parts.calls))])
