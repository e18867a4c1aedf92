"""Runs a fake engine: a real process that speaks the real link and makes up predictable tokens.

For tests of everything around an engine: restarts, streams, limits, signals. Started as
`python -m umad.testing FD MODEL`, where MODEL is a file written by `FakeModel.write`.
Not: a model, a scheduler, or fast. One thread; owns nothing but its end of the link.

A prompt is a list of words, one token each. These make it misbehave when token N (from 0) is due:
    crash@N      die of SIGKILL before token N is sent      crash_once@N  unless resumed
    tear@N       die in the middle of the frame with it     tear_once@N   unless resumed
    hang@N       do nothing any more                        fatal@N       say `Fatal` and exit
    stop@N       end there with reason "stop"               reject        refuse the prompt
    silent_end@N send token N, die before saying that it was the last
    gate@N       wait with token N until the file `FakeModel.gate` is there
"""

import hashlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from umad.clock import MonotonicClock
from umad.conversation import from_json
from umad.engine.chats.unseen import as_seen, check_seen, files_of
from umad.errors import MediaUnsupported
from umad.isolated import python_module
from umad.protocol.frames import MAX_FRAME_BYTES, FrameReader, encode_frame
from umad.protocol.link import (
    CancelOrder,
    Emitted,
    Ended,
    EngineCall,
    EngineReady,
    EngineReply,
    Fatal,
    FromEngine,
    Pause,
    Prefilled,
    Rejected,
    Resume,
    SetLane,
    StepReport,
    StepStats,
    Stop,
    Submit,
    decode,
    encode,
)
from umad.request import FinishReason

FAKE_VOCAB = 50_021
PIECE_CHARS = 7


def fake_token(seed: int, position: int) -> int:
    """The token a fake engine draws as number `position` (from 0) of a completion."""
    return (seed * 7919 + position * 104_729) % FAKE_VOCAB


def fake_text(token: int) -> str:
    """The text of a token."""
    return f"{token} "


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeModel:
    """The behaviour of a fake engine. It is stored in a file, where a model's weights would be."""

    # Milliseconds between two steps.
    pace_ms: float = 1.0
    # Completions that run at once; others wait.
    max_seqs: int = 64
    # A path that must exist before the engine is ready.
    wait_for: str | None = None
    # A path that a request waits for where its prompt says so.
    gate: str | None = None
    # (code, message) of a `Fatal` that is sent instead of `EngineReady`.
    fatal: tuple[str, str] | None = None
    # End with this status instead of being ready; -9 kills the process with SIGKILL.
    exit_status: int | None = None
    # The answers to a chat, sent in pieces to their end. The first is for a chat that offers tools
    # which have not answered yet, the second for every other chat.
    script: tuple[str, str] | None = None
    # The chat family that says how `script` writes its calls (`umad.chat`).
    family: str = "plain"
    # Whether it says that it has a chat template; None to say nothing of it.
    chat_template: bool | None = None
    # The kinds of files that it says it takes.
    media: tuple[str, ...] = ()

    def write(self, path: Path) -> Path:
        """Make the model's file."""
        path.write_text(json.dumps(asdict(self)))
        return path


def fake_command(path: Path, link_fd: int) -> Sequence[str]:
    """The command line of a fake engine for the model at `path`."""
    return python_module("umad.testing", str(link_fd), str(path))


@dataclass(slots=True, kw_only=True)
class _Stream:
    submit: Submit
    words: Sequence[str]
    made: int
    resumed: bool
    prefilled: bool = False
    paused: bool = False
    pieces: Sequence[str] | None = None
    orders: dict[int, str] = field(default_factory=dict)


class FakeEngine:
    """Runs the process's one loop: read what there is, run a step when one is due."""

    def __init__(self, sock: socket.socket, model: FakeModel) -> None:
        self._sock = sock
        self._model = model
        self._clock = MonotonicClock()
        self._reader = FrameReader(MAX_FRAME_BYTES)
        self._streams: dict[int, _Stream] = {}
        self._ended: list[Ended] = []
        self._rejected: list[Rejected] = []
        self._stopping = False
        self._sampled = 0

    def run(self) -> None:
        """Serve until told to stop, or until the daemon hangs up."""
        pace_ns = int(self._model.pace_ms * 1e6)
        due_ns = self._clock.now_ns()
        while not (self._stopping and not self._streams):
            busy = self._ended or self._rejected or self._runnable()
            wait_s = max(0, due_ns - self._clock.now_ns()) / 1e9 if busy else None
            readable, _, _ = select.select([self._sock], [], [], wait_s)
            if readable and not self._read():
                return
            now_ns = self._clock.now_ns()
            if now_ns >= due_ns and (self._ended or self._rejected or self._runnable()):
                self._step()
                due_ns = now_ns + pace_ns

    def send(self, message: FromEngine) -> None:
        """Send a message. Blocks until the daemon has taken it."""
        self._sock.sendall(encode_frame(encode(message)))

    def _runnable(self) -> list[_Stream]:
        return [s for s in list(self._streams.values())[: self._model.max_seqs] if not s.paused]

    def _read(self) -> bool:
        data = self._sock.recv(2**16)
        for body in self._reader.feed(data):
            self._obey(decode(body))
        return bool(data)

    def _obey(self, message: object) -> None:
        match message:
            case Submit():
                self._take(message)
            case CancelOrder():
                stream = self._streams.pop(message.rid, None)
                if stream is not None:
                    self._ended.append(_ended(stream, "cancelled"))
            case Pause() | Resume():
                stream = self._streams.get(message.rid)
                if stream is not None:
                    stream.paused = isinstance(message, Pause)
            case EngineCall():
                self.send(_answer(message))
            case Stop():
                self._stopping = True
            case SetLane() | _:
                pass

    def _take(self, submit: Submit) -> None:
        files = files_of(submit.media)
        turns, options = ((), None) if submit.chat is None else from_json(submit.chat, files)
        try:
            turns = as_seen(turns, self._model.media)
            if submit.chat is None:
                check_seen(files, self._model.media)
        except MediaUnsupported as error:
            self._rejected.append(
                Rejected(rid=submit.rid, code=error.code, message=error.message, field=error.field)
            )
            return
        words = (submit.prompt or " ".join(turn.content for turn in turns)).split()
        if "reject" in words:
            self._rejected.append(
                Rejected(rid=submit.rid, code="bad_request", message="told to", field="prompt")
            )
            return
        stream = _Stream(
            submit=submit,
            words=words or [str(i) for i in submit.prompt_ids or ()],
            made=len(submit.resume),
            resumed=bool(submit.resume),
        )
        script = self._model.script
        if script is not None and options is not None:
            calls = bool(options.tools) and not any(turn.role == "tool" for turn in turns)
            text = script[0] if calls else script[1]
            starts = range(0, len(text), PIECE_CHARS)
            stream.pieces = [text[at : at + PIECE_CHARS] for at in starts]
        for word in words if script is None else ():
            order, at, number = word.partition("@")
            if at and not (order.endswith("_once") and stream.resumed):
                stream.orders[int(number)] = order.removesuffix("_once")
        self._streams[submit.rid] = stream
        for file in files:
            self.send(StepReport(medium=hashlib.sha256(file.data).hexdigest()))

    def _step(self) -> None:
        emitted: list[Emitted] = []
        prefilled: list[Prefilled] = []
        torn = silent = False
        began_ns = self._clock.now_ns()
        for stream in self._runnable():
            rid, total = stream.submit.rid, len(stream.words)
            if not stream.prefilled:
                stream.prefilled = True
                prefilled.append(Prefilled(rid=rid, done_tokens=total, total_tokens=total))
                continue
            order = stream.orders.get(stream.made)
            if order == "gate" and not Path(self._model.gate or "").exists():
                continue
            if order in ("crash", "hang", "fatal"):
                self._misbehave(order)
            torn |= order == "tear"
            silent |= order == "silent_end"
            token = fake_token(stream.submit.sampling.seed or 0, stream.made)
            stream.made += 1
            pieces = stream.pieces
            text = fake_text(token) if pieces is None else pieces[stream.made - 1]
            emitted.append(Emitted(rid=rid, ids=(token,), text=text))
            stops = order == "stop" or (pieces is not None and stream.made == len(pieces))
            if stops or stream.made == stream.submit.sampling.max_tokens:
                del self._streams[rid]
                self._ended.append(_ended(stream, "stop" if stops else "length"))
        self._sampled += len(emitted)
        report = StepReport(
            emitted=tuple(emitted),
            ended=() if silent else tuple(self._ended),
            rejected=tuple(self._rejected),
            prefilled=tuple(prefilled),
            stats=self._stats(began_ns, len(emitted), sum(p.total_tokens for p in prefilled)),
            solo_ms=self._model.pace_ms,
        )
        self._ended.clear()
        self._rejected.clear()
        if torn:
            frame = encode_frame(encode(report))
            self._sock.sendall(frame[: len(frame) // 2])
            _die()
        self.send(report)
        if silent:
            _die()

    def _misbehave(self, order: str) -> None:
        if order == "fatal":
            self.send(Fatal(code="internal", message="told to"))
            sys.exit(1)
        if order == "hang":
            while True:
                signal.pause()
        _die()

    def _stats(self, began_ns: int, n_decode: int, n_prefill_tokens: int) -> StepStats:
        ended_ns = self._clock.now_ns()
        running = len(self._runnable())
        return StepStats(
            began_ns=began_ns,
            ended_ns=ended_ns,
            device_ms=(ended_ns - began_ns) / 1e6,
            n_decode=n_decode,
            n_prefill_tokens=n_prefill_tokens,
            running=running,
            waiting={"interactive": max(0, len(self._streams) - running)},
            sampled_total=self._sampled,
        )


def _ended(stream: _Stream, reason: FinishReason) -> Ended:
    return Ended(
        rid=stream.submit.rid,
        reason=reason,
        prompt_tokens=len(stream.words),
        cached_tokens=0,
        completion_tokens=stream.made,
    )


def _detokenized(args: Any) -> str | list[bytes]:
    texts = [fake_text(token) for token in args["ids"]]
    return [one.encode() for one in texts] if args.get("pieces") else "".join(texts)


def _rendered(args: Any) -> dict[str, Any]:
    """A template that puts the words of all turns in a row."""
    prompt: dict[str, Any] = {"template": "{{ messages }}"}
    if args["chat"] is None:
        return prompt
    turns, _ = from_json(args["chat"], files_of(args.get("media", ())))
    turns = as_seen(turns, ())
    text = " ".join([turn.content for turn in turns])
    return {**prompt, "text": text, "ids": [len(word) for word in text.split()]}


def _answer(call: EngineCall) -> EngineReply:
    operations: dict[str, Callable[[Any], Any]] = {
        "tokenize": lambda args: [len(word) for word in args["text"].split()],
        "detokenize": _detokenized,
        "render": _rendered,
        "forget": lambda args: {"sessions": [], "in_use": []},
        "spare": lambda args: {
            "freed_bytes": 0 if args["share"] == 1 else 1000,
            "kept_bytes": 0,
            "over_bytes": 0,
        },
    }
    operation = operations.get(call.op)
    if operation is None:
        return EngineReply(call=call.call, error=("unsupported", f"no operation {call.op}", "op"))
    return EngineReply(call=call.call, value=operation(call.args))


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit(1)  # not reached


def _await_path(path: Path, sock: socket.socket) -> None:
    """Wait until `path` exists, or exit when the daemon has hung up."""
    while not path.exists():
        readable, _, _ = select.select([sock], [], [], 0.01)
        if readable and not sock.recv(1, socket.MSG_PEEK):
            sys.exit(0)


def main(arguments: Sequence[str]) -> None:
    """Run `python -m umad.testing FD MODEL`."""
    link_fd, path = arguments
    model = FakeModel(**json.loads(Path(path).read_text()))
    with socket.socket(fileno=int(link_fd)) as sock:
        if model.wait_for is not None:
            _await_path(Path(model.wait_for), sock)
        engine = FakeEngine(sock, model)
        if model.fatal is not None:
            code, message = model.fatal
            engine.send(Fatal(code=code, message=message))
            sys.exit(1)
        if model.exit_status is not None:
            if model.exit_status < 0:
                os.kill(os.getpid(), -model.exit_status)
            sys.stderr.write("told to exit\n")
            sys.exit(model.exit_status)
        facts: dict[str, Any] = {
            "name": Path(path).stem,
            "n_ctx": 4096,
            "backend": "fake",
            "chat_family": model.family,
            "takes_tools": model.family != "plain",
        }
        if model.chat_template is not None:
            facts["has_chat_template"] = model.chat_template
        facts["media"] = model.media
        engine.send(EngineReady(facts=facts))
        engine.run()
