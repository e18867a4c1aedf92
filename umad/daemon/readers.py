"""Serves clients that read the logits of their requests or choose the tokens themselves.

    logits.attach ─▶ the engine makes a ring ─▶ its descriptor, for reading, to the client
    logits.choose ─▶ the engine, which judges it

The time a client takes to attach or to choose is its own. Nothing is pending meanwhile, and the
scorecard does not count the gap against the scheduler. Owner: the daemon's event loop.
"""

from umad.asker import MACHINE_USER
from umad.clock import Clock
from umad.daemon.completions import Completions
from umad.daemon.generation import LiveGeneration, Recipient
from umad.daemon.handover import Handover
from umad.engine.logits.shared_pages import open_read_only
from umad.errors import BadRequest, UnknownRequest
from umad.metrics.scorecard import Scorecard
from umad.protocol.link import Attached, Choose
from umad.protocol.messages import AttachLogits, ChooseToken


class LogitsReaders:
    """Carries out `logits.attach` and `logits.choose` for one daemon."""

    def __init__(self, *, completions: Completions, scorecard: Scorecard, clock: Clock) -> None:
        self._completions = completions
        self._scorecard = scorecard
        self._clock = clock

    async def attach(self, recipient: Recipient, message: AttachLogits) -> Handover:
        """The ring of a live request. Raises the engine's error, or `UnknownRequest`."""
        generation = self._own(recipient, message)
        if len(generation.entries) > 1:
            raise BadRequest("logits are read for one completion: n must be 1", field="request")
        (entry,) = generation.entries
        engine = generation.engine
        submit = entry.submit
        if message.choose and (submit.sampling.logprobs is not None or submit.constraint):
            raise BadRequest(
                "a request with logprobs or a constraint has its tokens drawn by the engine",
                field="choose",
            )
        facts = dict(await engine.call("attach", {"rid": entry.rid, "choose": message.choose}))
        fd = open_read_only(facts.pop("handle"))
        engine.journal.read_by_client(entry, choose=message.choose)

        def sent() -> None:
            engine.send(Attached(rid=entry.rid))
            self._scorecard.goes_on(entry.rid, self._clock.now_ns())

        return Handover(value=facts, fd=fd, sent=sent)

    def choose(self, recipient: Recipient, message: ChooseToken) -> None:
        """Pass a choice on to the engine. Raises `UnknownRequest`."""
        generation = self._own(recipient, message)
        (entry, *_) = generation.entries
        self._scorecard.goes_on(entry.rid, self._clock.now_ns())
        generation.engine.send(
            Choose(rid=entry.rid, position=message.position, token=message.token)
        )

    def _own(self, recipient: Recipient, message: AttachLogits | ChooseToken) -> LiveGeneration:
        asker = message.asker or MACHINE_USER
        generation = self._completions.find(message.request, asker)
        # Several connections of one process are one client. But a front end's process asks for many
        # owners, and even an admin reads only its own logits.
        is_same = generation.recipient.identity.pid == recipient.identity.pid
        if not is_same or generation.owner != asker.owner:
            raise UnknownRequest(
                f"{message.request} is another process's; logits are shown to whoever asked for "
                "them",
                field="request",
            )
        return generation
