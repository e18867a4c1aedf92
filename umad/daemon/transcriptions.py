"""Answers requests to transcribe: asks the speech engine for one window after the other.

Each window is one call of the engine, so whatever happens to a process, a request goes on behind
its last window; and requests take turns. What was heard goes to the client behind every window.
Not: bytes of a connection (`umad.daemon.session`), nor how a window is heard (`umad.speech`).
Owner: the daemon's event loop.
"""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from umad.asker import MACHINE_USER, Asker
from umad.clock import Clock
from umad.daemon.admission import Admission
from umad.daemon.app_shares import AppShares
from umad.daemon.engine import Engine
from umad.daemon.handover import Begun
from umad.daemon.identity import own_process
from umad.daemon.session import Session
from umad.errors import DeadlineExceeded, EngineFailed, QueueFull, Refused
from umad.metrics.scorecard import Scorecard
from umad.protocol.messages import RequestId
from umad.protocol.speech_fields import encode_transcript_event, segments_of
from umad.request import FinishReason
from umad.transcription import Heard, Segment, TranscribeRequest, Transcript

# Nobody speaks two thousand segments in a window; a model that repeats itself may.
_MOST_SEGMENTS = 2000


@dataclass(slots=True, kw_only=True, eq=False)
class Transcription:
    """One live request to transcribe."""

    # The daemon's name for it.
    request: str
    # Its number on the scorecard.
    rid: int
    recipient: Session
    engine: Engine
    lane: str
    # The rule that chose the lane, in words.
    lane_by: str
    app: str
    owner: str
    accepted_ns: int
    # `cancel` cancels it.
    task: "asyncio.Task[Any] | None"
    # How far it is.
    done_s: float = 0.0
    total_s: float = 0.0

    @property
    def whose(self) -> str:
        """By whom it is counted (`umad.daemon.app_shares`)."""
        return self.owner or self.app


class Transcriptions:
    """The live requests to transcribe of one daemon.

    most: how many may be live at once. rids: numbers for the scorecard. own_uid: of the daemon's
    user.
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
        own_uid: int,
    ) -> None:
        self._admission = admission
        self._shares = shares
        self._scorecard = scorecard
        self._clock = clock
        self._most = most
        self._rids = rids
        self._own_uid = own_uid
        self._live: dict[str, Transcription] = {}
        self._names = itertools.count(1)
        self._idle = asyncio.Event()
        self._idle.set()

    def __iter__(self) -> Iterator[Transcription]:
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
        session: Session,
        request_id: RequestId,
        engine: Engine,
        asked: TranscribeRequest,
        asker: Asker = MACHINE_USER,
    ) -> Begun:
        """Send a client what is heard, and the whole at the end.

        Raises the engine's error, `QueueFull`, `BadRequest` for an unknown lane, `Refused` for a
        path of another user's process, and `DeadlineExceeded`.
        """
        if asked.path is not None and session.identity.uid not in (self._own_uid, 0):
            raise Refused("a path is for processes of the daemon's user; send the bytes instead")
        live = self._accept(session, engine, asked, asker)
        reason: FinishReason = "error"
        try:
            async with asyncio.timeout(asked.deadline_ms and asked.deadline_ms / 1e3):
                transcript = await self._hear(live, request_id, asked)
            reason = "stop"
        except TimeoutError:
            raise DeadlineExceeded(
                f"the request had not ended {asked.deadline_ms} ms after it came"
            ) from None
        except asyncio.CancelledError:
            reason = "cancelled"
            raise
        finally:
            self._scorecard.ended(live.rid, reason, self._clock.now_ns())
            del self._live[live.request]
            self._shares.ended(live.whose, 1)
            if not self._live:
                self._idle.set()
        session.queue(encode_transcript_event(request_id, transcript))
        session.flush()
        return Begun()

    async def _hear(
        self, live: Transcription, request_id: RequestId, asked: TranscribeRequest
    ) -> Transcript:
        args: dict[str, Any] = {
            "key": live.request,
            "path": asked.path,
            "audio": asked.audio,
            "from_s": 0.0,
            "language": asked.spoken,
            "translate": asked.translate,
            "prompt": asked.prompt,
            "context": (),
            "temperature": asked.temperature,
            "words": asked.words,
            "lane": live.lane,
            "app": live.app,
            "owner": live.owner,
        }
        segments: list[Segment] = []
        language = ""
        while True:
            value = await live.engine.work("transcribe", args)
            try:
                heard = segments_of(value["segments"])
                next_s, total_s = float(value["next_s"]), float(value["total_s"])
                language = str(value["language"]) or language
                context, ended = tuple(value["context"]), bool(value["ended"])
            except (KeyError, TypeError, ValueError):
                raise EngineFailed("the engine's answer is none; try again") from None
            if len(heard) > _MOST_SEGMENTS or not (ended or next_s > args["from_s"]):
                raise EngineFailed("the engine does not get on with the recording; try again")
            segments += heard
            live.done_s, live.total_s = total_s if ended else next_s, total_s
            news = Heard(
                segments=heard, done_s=live.done_s, total_s=total_s, language=language or "en"
            )
            live.recipient.queue(encode_transcript_event(request_id, news))
            live.recipient.flush()
            if ended:
                break
            # The language that was found holds for all of it.
            found = asked.spoken or (None if asked.translate else language or None)
            # A new map: the engine's open call has the old one.
            args = {**args, "from_s": next_s, "context": context, "language": found}
        return Transcript(
            model=live.engine.name,
            language=language or asked.spoken or "en",
            duration_s=total_s,
            segments=tuple(segments),
        )

    def _accept(
        self, session: Session, engine: Engine, asked: TranscribeRequest, asker: Asker
    ) -> Transcription:
        if len(self._live) >= self._most:
            raise QueueFull(
                f"{len(self._live)} requests to transcribe wait already, at most {self._most} may; "
                "try again later"
            )
        app = asked.app or session.identity.app
        path, parents = own_process(session.identity, asked.app)
        choice = self._admission.lane_of(app, asked.lane, path=path, parents=parents, asker=asker)
        self._shares.check(asker.owner or app, 1, app=app)
        live = Transcription(
            request=f"t{next(self._names)}",
            rid=next(self._rids),
            recipient=session,
            engine=engine,
            lane=choice.lane,
            lane_by=choice.by,
            app=app,
            owner=asker.owner,
            accepted_ns=self._clock.now_ns(),
            task=asyncio.current_task(),
        )
        self._live[live.request] = live
        self._shares.began(live.whose, 1)
        self._idle.clear()
        self._scorecard.accepted(live.rid, engine.name, choice.lane, app, live.accepted_ns)
        return live
