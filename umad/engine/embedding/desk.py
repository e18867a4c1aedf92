"""Moves embedding work from the mail to the scheduler's queue, and from its slices to answers.

Not: when a slice runs (`umad.scheduler.embeds.turns`) or how (`embedder`). Owner: the step thread.
"""

from collections.abc import Callable

from umad.engine.backend import EmbedRunner
from umad.engine.embedding.answer import Answer
from umad.engine.embedding.cache import VectorCache
from umad.engine.embedding.work import NOTHING, Embedded
from umad.engine.mail.step_mail import DropEmbed, EmbedArrival, EmbedMail
from umad.errors import InternalError, UmadError, Unsupported
from umad.protocol.link import EngineReply
from umad.scheduler.embeds.queue import EmbedQueue
from umad.step import StepPlan


class EmbedDesk:
    """The embedding work of one step loop. embedder: None where no texts are ever
    embedded (tests). cache: where vectors are kept for later requests.
    """

    def __init__(
        self,
        queue: EmbedQueue,
        embedder: EmbedRunner | None,
        emit: Callable[[EngineReply], None],
        cache: VectorCache | None = None,
    ) -> None:
        self._queue = queue
        self._embedder = embedder
        self._emit = emit
        self._cache = cache or VectorCache(0)
        # Of the requests that wait or run, by call.
        self._answers: dict[int, Answer] = {}

    def read(self, mail: EmbedMail, now_ns: int) -> None:
        """Take a request in, or drop one."""
        if isinstance(mail, EmbedArrival):
            self._admit(mail, now_ns)
        elif isinstance(mail, DropEmbed):
            self._drop(mail.call)

    def _admit(self, arrival: EmbedArrival, now_ns: int) -> None:
        call = arrival.admission.call
        try:
            if self._embedder is None:
                raise Unsupported("this engine embeds nothing")
            self._queue.submit(arrival.admission, now_ns)
        except UmadError as error:
            self._refuse(call, error)
        else:
            self._answers[call] = arrival.answer

    def _drop(self, call: int) -> None:
        self._queue.drop(call)
        self._answers.pop(call, None)
        if self._embedder is not None:
            self._embedder.forget(call)

    def _refuse(self, call: int, error: UmadError) -> None:
        self._emit(EngineReply(call=call, error=(error.code, error.message, error.field)))

    def run(self, plan: StepPlan, now_ns: int) -> Embedded:
        """Run the embedding decode of a step. Without one, give the context back if it was idle for
        long.
        """
        embedder = self._embedder
        if plan.embed is None:
            self.rest(now_ns)
            return NOTHING
        if embedder is None:
            raise InternalError("texts were admitted, but this engine embeds nothing")
        return embedder.run(plan.embed, cuttable=plan.cuttable)

    def answer(self, embedded: Embedded) -> None:
        """Send the answers that are complete, once the scheduler has booked the step."""
        for call, error in embedded.failed.items():
            self._drop(call)
            self._refuse(call, error)
        for one in embedded.vectors:
            answer = self._answers.get(one.call)
            if answer is None:
                continue
            answer.take(one.index, one.vector)
            texts = answer.texts
            self._cache.keep(texts.owner, texts.keys[one.index], one.vector, epoch=texts.epoch)
            if answer.is_whole:
                del self._answers[one.call]
                self._emit(answer.reply())

    def rest(self, now_ns: int) -> None:
        """Give memory back that was not needed for a while."""
        embedder = self._embedder
        if embedder is not None and not len(self._queue) and embedder.rest(now_ns):
            self._queue.rest()
