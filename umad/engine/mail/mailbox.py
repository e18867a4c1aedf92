"""Reads frames from the daemon and turns them into mail for the step thread, on its own thread.

Work that concerns one request alone is done here (`intake`) where it takes a millisecond. Chats,
long texts and grammars have threads of their own (`long_intake`), and so have long questions about
the vocabulary; short questions are answered here. Work that must not wait cuts a background decode
short from here.
When the socket ends, the process ends: an engine without its daemon serves nobody.
"""

import logging
import os
import select
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from umad.engine.board.seat import BoardSeat
from umad.engine.embedding.intake import EmbedIntake
from umad.engine.logits.readers import Ring
from umad.engine.mail.emitter import Emitter
from umad.engine.mail.intake import SHORT_CHARS, Intake
from umad.engine.mail.long_intake import Deliver, LongIntake
from umad.engine.mail.step_mail import Arrival, AttachRing, ForgetMail, SpareMail, StepMail
from umad.engine.mail.step_news import rejection
from umad.engine.prctl import name_thread
from umad.engine.steps.cutter import Cutter
from umad.engine.vocab import Vocabulary
from umad.errors import (
    BadRequest,
    InternalError,
    PromptTooLong,
    ProtocolViolation,
    UmadError,
    Unsupported,
)
from umad.forgetting import ForgetScope
from umad.protocol.frames import MAX_FRAME_BYTES, FrameReader
from umad.protocol.link import (
    Attached,
    CancelOrder,
    Choose,
    Drop,
    Ended,
    EngineCall,
    EngineReply,
    FromEngine,
    Pause,
    Resume,
    SetLane,
    StepReport,
    Stop,
    Submit,
    ToEngine,
    decode,
)

log = logging.getLogger("umad.engine")

_RECEIVE_BYTES = 256 * 1024
# One question may have so many tokens, even where a context has fewer: such an answer is quickly
# passed on.
MOST_ANSWERED = 2**16
# Nothing is sent to an engine that is not ready. The bound only keeps a bug from lasting for ever.
_READY_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The parts that mail is handled with, once the model is loaded."""

    intake: Intake
    embeds: EmbedIntake
    vocab: Vocabulary
    inbox: StepMail
    emitter: Emitter
    cutter: Cutter
    guarded: frozenset[str]
    # Whether a live completion is in one of the `guarded` lanes. Safe from this thread.
    is_guarded: Callable[[int], bool]
    seat: BoardSeat
    now_ns: Callable[[], int]
    # The most tokens that a text may have.
    most_tokens: int

    def hurry(self) -> None:
        """Guarded work has come: cut the background step that runs here or in another engine."""
        self.seat.arrived(self.now_ns())
        self.cutter.cut()


class Mailbox:
    """Reads from the start, so that the daemon's end is noticed even while a model loads."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._mail = select.poll()
        self._mail.register(link, select.POLLIN)
        self._desk: Desk | None = None
        self._long: LongIntake | None = None
        self._open = threading.Event()
        self._thread = threading.Thread(target=self._run, name="umad-mailbox", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def open(self, desk: Desk) -> None:
        """Handle mail from now on."""
        self._desk = desk
        self._long = LongIntake(
            take=lambda submit: _taken(desk, submit),
            answer=lambda call: _answered(desk, call),
            handle=lambda message: handle(desk, message),
            alive=lambda: desk.emitter.put(StepReport()),
            now_ns=desk.now_ns,
        )
        self._open.set()

    def _run(self) -> None:
        name_thread("umad-mailbox")
        reader = FrameReader(MAX_FRAME_BYTES)
        try:
            while data := self._receive():
                self._open.wait(_READY_S)
                if self._desk is None or self._long is None:
                    raise ProtocolViolation("mail before ready")
                for body in reader.feed(data):
                    route(self._desk, self._long, decode(body))
        except OSError as error:
            log.info("link failed error=%s", error)
        except Exception:
            # A thread's boundary: an engine that cannot read its mail must not go on.
            log.exception("mailbox failed")
            os._exit(1)
        # Not sys.exit: a decode may be running. The kernel takes its memory back.
        os._exit(0)

    def _receive(self) -> bytes:
        # A thread that waits in recv is woken each time that the daemon has read the engine's news,
        # because there is room to write then. One that waits in poll is woken by mail alone.
        self._mail.poll()
        return self._link.recv(_RECEIVE_BYTES)


def route(desk: Desk, long: LongIntake, message: ToEngine | FromEngine) -> None:
    """Handle a message now, unless it takes long or its request is not taken in yet."""
    match message:
        case Submit() if desk.intake.takes_long(message):
            long.put(message)
        case EngineCall(op="tokenize" | "detokenize" | "render") if _takes_long(message):
            long.ask(message)
        case Drop() if long.drop_call(message.call):
            pass
        case CancelOrder() if long.drop(message.rid):
            desk.emitter.put(StepReport(ended=(_cancelled(message.rid),)))
        case SetLane() | Pause() | Resume() | Attached() | Choose() if long.holds(
            message.rid, message
        ):
            pass
        case EngineCall(op="attach") if long.holds(int(message.args["rid"]), message):
            pass
        case _:
            handle(desk, message)


def _cancelled(rid: int) -> Ended:
    """The end of a request that was cancelled before it began."""
    return Ended(rid=rid, reason="cancelled", prompt_tokens=0, cached_tokens=0, completion_tokens=0)


def handle(desk: Desk, message: ToEngine | FromEngine) -> None:
    """Do what a message asks, or pass it on."""
    match message:
        case Submit():
            _taken(desk, message)()
        case EngineCall():
            _answer(desk, message)
        case SetLane():
            desk.inbox.put(message)
            if message.lane in desk.guarded:
                desk.hurry()
        case Resume():
            desk.inbox.put(message)
            if desk.is_guarded(message.rid):
                desk.hurry()
        case Attached() | Choose():
            desk.inbox.put(message)
            if desk.is_guarded(message.rid):
                desk.hurry()
        case Drop():
            desk.embeds.drop(message.call)
        case CancelOrder() | Pause() | Stop():
            desk.inbox.put(message)
        case _:
            raise ProtocolViolation(f"a daemon does not send {type(message).__name__}")


def _taken(desk: Desk, submit: Submit) -> Deliver:
    """Take a request in. Returns the function that tells the outcome."""
    try:
        taken = desk.intake.take(submit)
    except UmadError as error:
        refusal = StepReport(rejected=(rejection(submit.rid, error),))
        return lambda: desk.emitter.put(refusal)
    except BaseException:  # a panic in a Rust library is not an Exception
        # One request's boundary: whatever goes wrong with it must not end the engine for the
        # others.
        log.exception("request cannot be taken rid=%d", submit.rid)
        flaw = InternalError("the engine could not take the request; its log says why")
        failure = StepReport(rejected=(rejection(submit.rid, flaw),))
        return lambda: desk.emitter.put(failure)
    if not isinstance(taken, Arrival):
        return lambda: desk.emitter.put(taken)
    return lambda: _arrived(desk, taken)


def _arrived(desk: Desk, arrival: Arrival) -> None:
    # First the mail, then the cut: the next plan must already know the reason for the cut.
    desk.inbox.put(arrival)
    if arrival.stream.guarded:
        desk.hurry()


def _answer(desk: Desk, call: EngineCall) -> None:
    if call.op in ("embed", "rerank"):
        desk.embeds.take(call)
        return
    if call.op == "forget":
        mail = _forget_mail(call)
        desk.embeds.forget(mail.what)
        desk.inbox.put(mail)
        return
    if call.op == "spare":
        share = float(call.args["share"])
        freed_bytes = desk.embeds.spare(share)
        desk.inbox.put(SpareMail(call=call.call, share=share, vector_bytes=freed_bytes))
        return
    try:
        if call.op == "attach":
            ring = Ring(desk.vocab.n_vocab)
            rid, choose = int(call.args["rid"]), bool(call.args["choose"])
            desk.inbox.put(AttachRing(call=call.call, rid=rid, choose=choose, ring=ring))
            return
    except UmadError as error:
        failure = (error.code, error.message, error.field)
        desk.emitter.put(EngineReply(call=call.call, error=failure))
        return
    _answered(desk, call)()


def _forget_mail(call: EngineCall) -> ForgetMail:
    args = dict(call.args)
    before_rid = int(args.pop("before_rid", 0))
    return ForgetMail(call=call.call, what=ForgetScope(**args), before_rid=before_rid)


def _takes_long(call: EngineCall) -> bool:
    if call.op == "render":
        return call.args.get("chat") is not None  # another process runs the template
    asked = call.args.get("text" if call.op == "tokenize" else "ids") or ()
    return len(asked) > SHORT_CHARS


def _answered(desk: Desk, call: EngineCall) -> Deliver:
    """Answer a question about the vocabulary. Returns the function that sends the answer."""
    try:
        reply = EngineReply(call=call.call, value=_value(desk, call.op, call.args))
    except UmadError as error:
        reply = EngineReply(call=call.call, error=(error.code, error.message, error.field))
    return lambda: desk.emitter.put(reply)


def _value(desk: Desk, op: str, args: Mapping[str, Any]) -> Any:
    vocab = desk.vocab
    match op:
        case "tokenize":
            text = args.get("text")
            if not isinstance(text, str):
                raise BadRequest("text must be a string", field="text")
            vocab.check_size(text, desk.most_tokens, field="text")
            special = bool(args.get("special", True))
            tokens = vocab.tokenize(text, special=special, with_ends=False)
            _check_answer(tokens.size, desk.most_tokens, "text")
            return tokens.tolist()
        case "detokenize":
            ids = args.get("ids", ())
            _check_answer(len(ids), desk.most_tokens, "ids")
            return vocab.pieces(ids) if args.get("pieces") else vocab.text(ids)
        case "render":
            return desk.intake.render(args.get("chat"), args.get("media", ()))
        case _:
            raise Unsupported(f"an engine cannot {op}")


def _check_answer(n_tokens: int, most_tokens: int, field: str) -> None:
    most = max(MOST_ANSWERED, most_tokens)
    if n_tokens > most:
        raise PromptTooLong(
            f"{field} has {n_tokens} tokens and at most {most} are taken at once", field=field
        )
