"""Turns a reply's text, in any pieces, into content, reasoning and tool calls: `ReplyReader`.

It reads completions with `markup`. It holds back text that may yet become a mark, and whitespace
that may stand before a mark: between marks, whitespace is layout and part of no text. Pure. Owner:
one completion.
"""

from collections.abc import Sequence

from umad.chat.call_forms import BARE, call_form
from umad.chat.call_run import CallRun, CallTeller
from umad.chat.channels import ChannelReader
from umad.chat.events import CallEnded, Content, Reasoning, ReplyEvent, merged
from umad.chat.fenced import FENCE
from umad.chat.formats import ChatFormat
from umad.chat.marks import first_mark, is_half_mark, may_be_mark
from umad.conversation import Tool


class ReplyReader:
    """Use `push` for each piece and `finish` once.

    `calls` is False where no tools were offered; then everything that looks like a call is text.
    `tools` are those offered: families that write arguments without quotes need their schemas.
    `fenced`: a fenced block that is a call of one of `tools` counts as one. `one_call`: the reply
    ends with its first call (`is_over`), and nothing behind it is told.
    """

    def __init__(
        self,
        format_: ChatFormat,
        *,
        calls: bool = True,
        tools: Sequence[Tool] = (),
        fenced: bool = False,
        one_call: bool = False,
    ) -> None:
        self._events: list[ReplyEvent] = []
        self._teller = CallTeller(self._events.append, tools)
        self._channels: ChannelReader | None = None
        if format_.family == "harmony":
            self._channels = ChannelReader(self._events.append, self._teller)
        self._thinking = format_.thinking
        self._calls = call_form(format_, fenced=fenced and bool(tools)) if calls else None
        self._bare = BARE.get(format_.family) if calls else None
        self._one_call = one_call
        self.is_over = False
        self._text = ""
        self._spaces = ""
        self._at_start = self._thinking is not None or self._bare is not None
        self._after_mark = False
        self._is_thinking = False
        self._run: CallRun | None = None
        marks = (*(self._thinking or ()), *(() if self._calls is None else self._calls.marks))
        self._mark_starts = frozenset([mark[0] for mark in marks])

    def push(self, text: str) -> list[ReplyEvent]:
        """The events that are certain once `text` is added."""
        if self.is_over:
            return []
        if self._is_plain(text):
            return [Reasoning(text) if self._is_thinking else Content(text)]
        if self._channels is not None:
            self._channels.push(text)
        else:
            self._text += text
            while self._text and self._advance(last=False):
                pass
        return self._told()

    def finish(self, *, cut: bool = False) -> list[ReplyEvent]:
        """The events of the text that was held back; the reply has ended. `cut`: not by the model;
        then half a mark, and what stands behind the mark of a call, is no text.
        """
        if self.is_over:
            return []
        if self._channels is not None:
            self._channels.finish(cut=cut)
            return self._told()
        if cut and self._is_half():
            self._text = self._spaces = ""
            self._run = None
        # A call that is broken off becomes text, which may hold another: each turn uses some up.
        while self._text or self._run is not None:
            self._advance(last=True)
        self._out(self._spaces)
        self._spaces = ""
        return self._told()

    def _is_half(self) -> bool:
        """Whether what is held back is the beginning of a mark or of a call, and no text."""
        if self._run is not None:
            return self._run.cut()
        return is_half_mark(self._text)

    def _is_plain(self, text: str) -> bool:
        """Whether all text is decided and `text` leaves nothing undecided. This holds for most
        tokens, and costs a tenth of looking for each mark.
        """
        return not (
            self._text
            or self._spaces
            or self._at_start
            or self._after_mark
            or self._run is not None
            or self._channels is not None
            or not text
            or (self._mark_starts and text[-1].isspace())
            or not self._mark_starts.isdisjoint(text)
        )

    def _told(self) -> list[ReplyEvent]:
        events = merged(self._events)
        self._events.clear()
        if self._one_call and self._teller.n_calls:
            self.is_over = True
            ended = next(at for at, one in enumerate(events) if isinstance(one, CallEnded))
            del events[ended + 1 :]
        return events

    def _advance(self, *, last: bool) -> bool:
        """Use up some of the text; return False when more text is needed for that."""
        if self._run is not None:
            return self._read_call(self._run)
        if self._at_start:
            return self._begin(last=last)
        marks = self._marks()
        at, mark = first_mark(self._text, marks)
        if mark:
            self._write(self._text[:at])
            self._text = self._text[at + len(mark) :]
            self._cross(mark)
            return True
        keep = 0 if last else may_be_mark(self._text, marks)
        certain = self._text[: len(self._text) - keep]
        self._text = self._text[len(certain) :]
        self._write(certain)
        return bool(certain)

    def _begin(self, *, last: bool) -> bool:
        """Thinking, and calls without a mark, only stand at the beginning."""
        stripped = self._text.lstrip()
        opening = self._thinking[0] if self._thinking is not None else ""
        if not last and (
            not stripped or (len(stripped) < len(opening) > 0 and opening.startswith(stripped))
        ):
            return False
        self._at_start = False
        if opening and stripped.startswith(opening):
            self._text = stripped.removeprefix(opening)
            self._is_thinking = self._after_mark = True
        elif self._bare is not None and stripped.startswith("{"):
            before = self._text[: len(self._text) - len(stripped)]
            self._text = stripped
            self._run = CallRun(self._bare, self._teller, "" if self._after_mark else before)
        return True

    def _marks(self) -> tuple[str, ...]:
        """The marks that end the text that is being read."""
        if self._is_thinking:
            return () if self._thinking is None else (self._thinking[1],)
        return () if self._calls is None else self._calls.marks

    def _cross(self, mark: str) -> None:
        spaces, self._spaces = self._spaces, ""
        self._after_mark = True
        if self._is_thinking:
            self._is_thinking, self._thinking = False, None
            self._at_start = self._bare is not None
        elif self._calls is not None and (reader := self._calls.readers.get(mark)) is not None:
            self._run = CallRun(
                reader,
                self._teller,
                spaces + mark,
                closings=self._calls.dropped,
                is_marked=mark != FENCE,
            )

    def _read_call(self, run: CallRun) -> bool:
        text, self._text = self._text, ""
        if not run.feed(text):
            return False
        self._run = None
        self._text = run.left
        if run.as_text:
            self._after_mark = False
            self._write(run.as_text)
        return True

    def _write(self, text: str) -> None:
        """Content or reasoning, without the whitespace around marks."""
        if self._after_mark:
            text = text.lstrip()
            if not text:
                return
            self._after_mark = False
        kept = text.rstrip() if self._marks() else text
        if kept:
            self._out(self._spaces + kept)
            self._spaces = ""
        self._spaces += text[len(kept) :]

    def _out(self, text: str) -> None:
        if text:
            self._events.append(Reasoning(text) if self._is_thinking else Content(text))
