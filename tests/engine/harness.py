"""A real engine process over a real socket pair, as the daemon would start it."""

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.live import CACHE
from umad.config import EngineSettings
from umad.conversation import ChatMessage, ChatOptions, to_json
from umad.engine.launch import EngineOptions, command
from umad.protocol.frames import MAX_FRAME_BYTES, FrameReader, encode_frame
from umad.protocol.link import (
    Emitted,
    Ended,
    EngineCall,
    EngineReady,
    EngineReply,
    Fatal,
    FromEngine,
    LoadProgress,
    Rejected,
    StepReport,
    StepStats,
    Submit,
    ToEngine,
    decode,
    encode,
)
from umad.request import INTERACTIVE, SamplingParams

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 60.0


class Completion:
    """Everything heard of one completion."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.text = ""
        self.logprobs: list[Any] = []
        self.progress: list[int] = []
        self.ended: Ended | None = None
        self.rejected: Rejected | None = None

    @property
    def over(self) -> bool:
        return self.ended is not None or self.rejected is not None

    @property
    def ending(self) -> Ended:
        assert self.ended is not None, self.rejected
        return self.ended

    @property
    def refusal(self) -> Rejected:
        assert self.rejected is not None, self.ended
        return self.rejected

    def hear(self, news: Emitted) -> None:
        self.ids.extend(news.ids)
        self.text += news.text
        self.logprobs.extend(news.logprobs or ())


class RunningEngine:
    """The daemon's end of one engine."""

    def __init__(
        self, process: subprocess.Popen[bytes], link: socket.socket, words: IO[bytes] | None = None
    ) -> None:
        self.process = process
        self.link = link
        self.reports: list[StepReport] = []
        self.replies: list[EngineReply] = []
        self.completions: dict[int, Completion] = {}
        self._reader = FrameReader(MAX_FRAME_BYTES)
        self._heard: list[FromEngine] = []
        self._calls = 0
        self._words = words

    def wait(self) -> int:
        """Until it has ended; its exit status."""
        return self.process.wait(WAIT_S)

    @property
    def stderr(self) -> str:
        """All it has written so far."""
        assert self._words is not None
        self._words.seek(0)
        return self._words.read().decode()

    def send(self, *messages: ToEngine) -> None:
        self.link.sendall(b"".join(encode_frame(encode(message)) for message in messages))

    def hear(self) -> FromEngine:
        """The next message, booked; `EOFError` when the engine has hung up."""
        while not self._heard:
            data = self.link.recv(1 << 20)
            if not data:
                raise EOFError
            self._heard += [decode(body) for body in self._reader.feed(data)]  # type: ignore[misc]
        message = self._heard.pop(0)
        if isinstance(message, StepReport):
            self._book(message)
        elif isinstance(message, EngineReply):
            self.replies.append(message)
        return message

    def ready(self) -> dict[str, Any]:
        message = self._loaded()
        assert isinstance(message, EngineReady), message
        return dict(message.facts)

    def fatal(self) -> Fatal:
        message = self._loaded()
        assert isinstance(message, Fatal), message
        return message

    def _loaded(self) -> FromEngine:
        """The first message that is no news of a load under way."""
        while isinstance(message := self.hear(), LoadProgress):
            assert 0 <= message.share <= 1
        return message

    @property
    def last_stats(self) -> StepStats:
        """The latest facts of steps it has told; those of no step before it has told any."""
        told = (report.stats for report in reversed(self.reports) if report.stats is not None)
        return next(told, StepStats())

    def of(self, rid: int) -> Completion:
        return self.completions.setdefault(rid, Completion())

    def finish(self, *rids: int) -> list[Completion]:
        """Hear until all of these are over."""
        while not all(self.of(rid).over for rid in rids):
            self.hear()
        return [self.of(rid) for rid in rids]

    def generate(self, rid: int, **fields: Any) -> Completion:
        self.send(submit(rid, **fields))
        return self.finish(rid)[0]

    def call(self, op: str, **args: Any) -> EngineReply:
        self._calls += 1
        self.send(EngineCall(call=self._calls, op=op, args=args))
        while True:
            message = self.hear()
            if isinstance(message, EngineReply):
                assert message.call == self._calls
                return message

    def _book(self, report: StepReport) -> None:
        self.reports.append(report)
        for news in report.emitted:
            self.of(news.rid).hear(news)
        for progress in report.prefilled:
            self.of(progress.rid).progress.append(progress.done_tokens)
        for ended in report.ended:
            assert not self.of(ended.rid).over
            self.of(ended.rid).ended = ended
        for rejected in report.rejected:
            self.of(rejected.rid).rejected = rejected


def submit(
    rid: int,
    *,
    lane: str = INTERACTIVE,
    resume: tuple[int, ...] = (),
    prompt: str | None = None,
    prompt_ids: tuple[int, ...] | None = None,
    messages: tuple[ChatMessage, ...] | None = None,
    chat: ChatOptions | None = None,
    special: bool = True,
    constraint: tuple[str, str] | None = None,
    session: str | None = None,
    **sampling: Any,
) -> Submit:
    """A `Submit` as the daemon makes it: greedy, 8 tokens, unless told otherwise."""
    values: dict[str, Any] = {"temperature": 0.0, "seed": 1, "max_tokens": 8, **sampling}
    return Submit(
        rid=rid,
        sampling=SamplingParams(**values),
        lane=lane,
        app="test",
        prompt=prompt,
        prompt_ids=prompt_ids,
        chat=None if messages is None else to_json(messages, chat or ChatOptions()),
        special=special,
        constraint=constraint,
        session=session,
        resume=resume,
    )


@contextmanager
def engine(model: Path, **settings: Any) -> Iterator[RunningEngine]:
    """Start an engine for `model`; killed and reaped at the end if it still runs."""
    # On the CPU, whose results do not depend on what shares a batch (bench/determinism.py).
    values: dict[str, Any] = {
        "ctx_size": 1024,
        "max_seqs": 8,
        "threads": 1,
        "gpu_layers": 0,
        **settings,
    }
    options = EngineOptions(name="model", path=str(model), engine=EngineSettings(**values))
    with start(options) as running:
        yield running


@contextmanager
def start(options: EngineOptions, *, cache: Path | None = None) -> Iterator[RunningEngine]:
    """cache: the user's cache folder as the engine sees it; unless given one that all tests share,
    so that a model's steps are measured once."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache or CACHE)}
    with _start(options, environment) as running:
        yield running


@contextmanager
def _start(options: EngineOptions, environment: dict[str, str]) -> Iterator[RunningEngine]:
    ours, theirs = socket.socketpair()
    ours.settimeout(WAIT_S)
    # A file, not a pipe: nobody reads along, and a full pipe would stop the engine.
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            command(options, theirs.fileno()),
            pass_fds=(theirs.fileno(),),
            cwd=ROOT,
            stderr=words,
            env=environment,
        )
        theirs.close()
        try:
            yield RunningEngine(process, ours, words)
        finally:
            # Before the link is closed: an engine whose daemon hangs up ends in good order, and may
            # save sessions meanwhile.
            process.kill()
            process.wait(WAIT_S)
            ours.close()
