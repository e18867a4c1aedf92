"""Takes calls in, has their windows read and heard, and answers them.

    calls ─▶ reading thread ─▶ hurried | others ─▶ hearing thread ─▶ answers

The only window of a short recording in a guarded lane is hurried: somebody has dictated and waits.
It goes before all others, and a window of a long recording that runs is given up for it: killed,
and heard again behind it. That happens to one window twice at most. Other windows go in the order
in which they came, and since every request asks for one after the other, requests take turns.
A window whose transcriber died is tried once more; one that ends it twice is refused.
Not: the link (`umad.speech.main`).
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from umad.errors import EngineFailed, InternalError, UmadError
from umad.protocol.link import EngineCall, EngineReply
from umad.speech.pace import Pace
from umad.speech.recordings import ReadWindow, Recordings
from umad.speech.transcriber import Transcriber, TranscriberDied
from umad.speech.window import WindowHeard

log = logging.getLogger("umad.speech")

MOST_CUTS = 2
MOST_DEATHS = 2


@dataclass(slots=True, eq=False, kw_only=True)
class _Work:
    call: EngineCall
    window: ReadWindow
    is_hurried: bool
    n_cuts: int = 0
    n_deaths: int = 0


class Desk:
    """The work of one speech engine."""

    def __init__(
        self,
        transcriber: Transcriber,
        recordings: Recordings,
        pace: Pace,
        *,
        guarded: frozenset[str],
        answer: Callable[[EngineReply], None],
    ) -> None:
        self._transcriber = transcriber
        self._recordings = recordings
        self._pace = pace
        self._guarded = guarded
        self._answer = answer
        # Guards all below.
        self._changed = threading.Condition()
        # Calls to be read, and keys of recordings to be closed.
        self._unread: deque[EngineCall | str] = deque()
        self._hurried: deque[_Work] = deque()
        self._others: deque[_Work] = deque()
        # Calls that are wanted: the others were dropped.
        self._wanted: dict[int, str] = {}
        self._running: _Work | None = None
        self._was_cut = False
        self._stops = False

    def start(self) -> None:
        """Start the thread that reads."""
        threading.Thread(target=self._read_all, name="umad-reading", daemon=True).start()

    def put(self, call: EngineCall) -> None:
        """Take a call in. Any thread."""
        with self._changed:
            self._wanted[call.call] = str(call.args["key"])
            self._unread.append(call)
            self._changed.notify_all()

    def drop(self, call: int) -> None:
        """Nobody waits for a call any more; one that runs is ended at once. Any thread."""
        with self._changed:
            key = self._wanted.pop(call, None)
            if key is not None:
                self._unread.append(key)
            if self._running is not None and self._running.call.call == call:
                self._cut()
            self._changed.notify_all()

    def wait_until_idle(self) -> None:
        """Return once nothing is left to be done."""
        with self._changed:
            self._changed.wait_for(lambda: not self._wanted)

    # -- reading -----------------------------------------------------------------------------------

    def _read_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._unread)
                one = self._unread.popleft()
                is_wanted = isinstance(one, str) or one.call in self._wanted
            if isinstance(one, str):
                self._recordings.forget(one)
            elif is_wanted:
                self._read(one)

    def _read(self, call: EngineCall) -> None:
        try:
            window = self._recordings.read(call.args)
        except UmadError as error:
            self._fail(call, error)
            return
        except Exception:
            # One recording's boundary.
            log.exception("recording cannot be read")
            self._fail(call, InternalError("the recording could not be read; see the log"))
            return
        hurried = window.is_whole and call.args["lane"] in self._guarded
        work = _Work(call=call, window=window, is_hurried=hurried)
        with self._changed:
            (self._hurried if hurried else self._others).append(work)
            running = self._running
            others_run = running is not None and not running.is_hurried
            if hurried and running is not None and others_run and running.n_cuts < MOST_CUTS:
                running.n_cuts += 1
                self._cut()
            self._changed.notify_all()

    def _cut(self) -> None:
        """End the window that runs. With the lock."""
        self._was_cut = True
        self._transcriber.kill()

    # -- hearing -----------------------------------------------------------------------------------

    def hear_all(self) -> None:
        """Hear what was read, for ever. The caller's thread has to be the one that started the
        transcriber: the kernel ends that with the thread, not with the process.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._hurried or self._others)
                work = (self._hurried or self._others).popleft()
                if work.call.call not in self._wanted:
                    continue
                self._running, self._was_cut = work, False
            try:
                self._hear(work)
            finally:
                with self._changed:
                    self._running = None

    def _hear(self, work: _Work) -> None:
        window = work.window
        try:
            if window.is_silent:
                heard = _nothing(window)
            else:
                if self._transcriber.pid is None:
                    self._transcriber.start()
                self._pace.began(hurried=work.is_hurried)
                try:
                    heard = window.audible.placed(self._transcriber.hear(window.asked))
                finally:
                    self._pace.ended()
        except TranscriberDied:
            self._died(work)
        except UmadError as error:
            self._fail(work.call, error)
        except Exception:
            # One window's boundary.
            log.exception("window cannot be heard")
            self._fail(work.call, InternalError("the recording could not be heard; see the log"))
        else:
            self._reply(work, heard)

    def _died(self, work: _Work) -> None:
        self._transcriber.kill()
        with self._changed:
            was_cut = self._was_cut
            if work.call.call not in self._wanted:
                return
        if not was_cut:
            work.n_deaths += 1
            log.warning("transcriber died in a window deaths=%d", work.n_deaths)
            if work.n_deaths >= MOST_DEATHS:
                self._fail(work.call, EngineFailed("this recording ended the transcriber twice"))
                return
        with self._changed:
            (self._hurried if work.is_hurried else self._others).appendleft(work)

    # -- answers -----------------------------------------------------------------------------------

    def _reply(self, work: _Work, heard: WindowHeard) -> None:
        window = work.window
        value: Mapping[str, Any] = {
            "segments": heard.moved(window.from_s),
            "next_s": window.from_s + heard.next_s,
            "total_s": window.total_s,
            "language": heard.language,
            "context": heard.context,
            "ended": window.asked.is_last,
        }
        self._done(EngineReply(call=work.call.call, value=value))

    def _fail(self, call: EngineCall, error: UmadError) -> None:
        self._done(EngineReply(call=call.call, error=(error.code, error.message, error.field)))

    def _done(self, reply: EngineReply) -> None:
        with self._changed:
            is_wanted = self._wanted.pop(reply.call, None) is not None
            self._changed.notify_all()
        if is_wanted:
            self._answer(reply)


def _nothing(window: ReadWindow) -> WindowHeard:
    """What is heard in silence. Whisper would make words of it."""
    asked = window.asked
    return WindowHeard(
        parts=(),
        next_s=window.seconds,
        language=asked.language or "",
        context=asked.context,
    )
