"""Keeps the recordings that are being heard, and reads their windows ahead of the transcriber.

A call names its recording by a key, so that each window goes on in the file that is open. One that
nobody has asked for in a while is closed; the next window then opens it again.
Owner: the reading thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from umad.clock import Clock
from umad.speech.recording import Recording
from umad.speech.silence import Audible, without_silence
from umad.speech.window import SAMPLE_RATE, WindowAsked

# Each has a process of its own.
MOST_OPEN = 8
_IDLE_S = 30.0


@dataclass(slots=True, eq=False)
class _Open:
    recording: Recording
    used_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadWindow:
    """A window that is ready to be heard."""

    asked: WindowAsked
    from_s: float
    total_s: float
    # The only window of its recording.
    is_whole: bool
    # What of it is heard: nothing where it has no sound in it.
    audible: Audible
    seconds: float

    @property
    def is_silent(self) -> bool:
        """True if there is nothing to hear."""
        return not self.audible.samples.size


class Recordings:
    """The open recordings, by key."""

    def __init__(self, clock: Clock, *, most_s: float) -> None:
        self._clock = clock
        self._most_s = most_s
        self._open: dict[str, _Open] = {}

    def read(self, args: Mapping[str, Any]) -> ReadWindow:
        """The window that a call asks for. Raises `BadRequest` and its children."""
        key, from_s = str(args["key"]), float(args["from_s"])
        recording = self._recording(key, args)
        try:
            samples, is_last = recording.window(from_s)
        except BaseException:
            self.forget(key)
            raise
        audible = without_silence(samples)
        if skipped_s := audible.begins_s:
            # The window begins anew where there is something to hear, and has its whole length.
            audible, is_last = without_silence(samples[:0]), False
        if is_last:
            self.forget(key)
        asked = WindowAsked(
            samples=audible.samples.tobytes(),
            language=args["language"],
            translate=bool(args["translate"]),
            prompt=args["prompt"] or "",
            context=tuple(args["context"]),
            temperature=float(args["temperature"]),
            words=bool(args["words"]),
            is_last=is_last,
        )
        return ReadWindow(
            asked=asked,
            from_s=from_s,
            total_s=recording.total_s,
            is_whole=is_last and from_s == 0,
            audible=audible,
            seconds=skipped_s or samples.size / SAMPLE_RATE,
        )

    def forget(self, key: str) -> None:
        """Close a recording that nobody hears any more."""
        found = self._open.pop(key, None)
        if found is not None:
            found.recording.close()

    def _recording(self, key: str, args: Mapping[str, Any]) -> Recording:
        now_ns = self._clock.now_ns()
        found = self._open.pop(key, None)
        if found is None:
            self._make_room(now_ns)
            opened = Recording.opened(args["path"], args["audio"], most_s=self._most_s)
            found = _Open(opened, now_ns)
        found.used_ns = now_ns
        self._open[key] = found
        return found.recording

    def _make_room(self, now_ns: int) -> None:
        """Close those that are idle, and the one used longest ago where there are too many."""
        for key, one in list(self._open.items()):
            if now_ns - one.used_ns > _IDLE_S * 1e9 or len(self._open) >= MOST_OPEN:
                self.forget(key)
