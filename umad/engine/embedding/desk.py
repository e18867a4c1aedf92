"""Moves embedding work from the mail to the scheduler's queue, and from its slices to answers.

Not: when a slice runs (`umad.scheduler.embeds.turns`) or how (`embedder`). Owner: the step thread.
"""

from collections.abc import Callable

from umad.engine.backend import EmbedRunner
from umad.engine.embedding.work import NOTHING, Embedded
from umad.engine.mail.step_mail import DropEmbed, EmbedArrival, EmbedMail
from umad.errors import InternalError, UmadError, Unsupported
from umad.protocol.link import EngineReply
from umad.scheduler.embeds.queue import EmbedQueue
from umad.step import StepPlan


class EmbedDesk:
    """The embedding work of one step loop. embedder: None where no texts are ever
    embedded (tests).
    """

    def __init__(
        self, queue: EmbedQueue, embedder: EmbedRunner | None, emit: Callable[[EngineReply], None]
    ) -> None:
        self._queue = queue
        self._embedder = embedder
        self._emit = emit

    def read(self, mail: EmbedMail, now_ns: int) -> None:
        """Take a request in, or drop one."""
        if isinstance(mail, EmbedArrival):
            self._admit(mail, now_ns)
        elif isinstance(mail, DropEmbed):
            self._queue.drop(mail.call)
            if self._embedder is not None:
                self._embedder.forget(mail.call)

    def _admit(self, arrival: EmbedArrival, now_ns: int) -> None:
        try:
            if self._embedder is None:
                raise Unsupported("this engine embeds nothing")
            self._queue.submit(arrival.admission, now_ns)
        except UmadError as error:
            failure = (error.code, error.message, error.field)
            self._emit(EngineReply(call=arrival.admission.call, error=failure))
        else:
            self._embedder.expect(arrival.wanted)

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
        for call in embedded.failed:
            self._queue.drop(call)
        for reply in embedded.replies:
            self._emit(reply)

    def rest(self, now_ns: int) -> None:
        """Give memory back that was not needed for a while."""
        if self._embedder is not None and self._embedder.rest(now_ns):
            self._queue.rest()
