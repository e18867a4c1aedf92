"""Ends an answer at a line, as llama-server does for editors: `n_indent` and `t_max_predict_ms`.

A completion in an editor is a few lines that somebody waits for. `n_indent` ends it before a line
that is indented less than the first one, `t_max_predict_ms` with the first line that is complete
after so much time. The daemon knows no lines, so its generation is cancelled, and the answer ends
with `limit`. Source: `process_token` in llama.cpp's tools/server.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from umad.gateway.generation import Heard
from umad.service import Done, Progress, Tokens

_BLANKS = " \t"
# Returns seconds; only differences count.
Clock = Callable[[], float]


@dataclass(slots=True, kw_only=True)
class LineEnd:
    """The end of one completion, found in its text as it comes. Pure."""

    # A line with fewer blanks at its beginning is not part of the answer; 0 for no such rule.
    n_indent: int = 0
    # None for no such rule.
    most_s: float | None = None
    is_over: bool = False
    # The blanks of the line so far; None where the line's words have begun, and in the first line,
    # which goes on from the cursor.
    _n_blanks: int | None = None
    _began_s: float | None = None

    def kept(self, text: str, now_s: float) -> str:
        """The part of `text` that belongs to the answer. `is_over` is set where it ends."""
        if self._began_s is None:
            self._began_s = now_s
        kept = self._indented(text) if self.n_indent else text
        is_late = self.most_s is not None and now_s - self._began_s > self.most_s
        if is_late and not self.is_over and "\n" in kept:
            self.is_over = True
            return kept[: kept.rindex("\n") + 1]
        return kept

    def _indented(self, text: str) -> str:
        for at, letter in enumerate(text):
            if self._n_blanks is not None:
                if letter in _BLANKS:
                    self._n_blanks += 1
                    continue
                if self._n_blanks < self.n_indent:
                    self.is_over = True
                    return text[:at]
            self._n_blanks = 0 if letter == "\n" else None
        return text


class EndedByLines:
    """A generation's events, without what stands behind the ends of its completions."""

    def __init__(
        self,
        events: AsyncIterable[Heard],
        ends: Sequence[LineEnd],
        *,
        cancel: Callable[[], Awaitable[None]],
        now_s: Clock,
    ) -> None:
        self._events = events
        self._ends = ends
        self._running = set(range(len(ends)))
        self._cancel = cancel
        self._now_s = now_s

    async def __aiter__(self) -> AsyncIterator[Heard]:
        """Iterate once. The generation is cancelled once no completion of it goes on."""
        async for event in self._events:
            match event:
                case Tokens():
                    end = self._ends[event.index]
                    if end.is_over:
                        continue  # made before the engine heard that it is enough
                    yield replace(event, text=end.kept(event.text, self._now_s()))
                    if end.is_over:
                        self._running.discard(event.index)
                        if not self._running:
                            await self._cancel()
                case Done() if self._ends[event.index].is_over:
                    yield replace(event, finish_reason="length", stop=None)
                case Done():
                    self._running.discard(event.index)
                    yield event
                    if not self._running and any(end.is_over for end in self._ends):
                        await self._cancel()
                case Progress():
                    yield event
