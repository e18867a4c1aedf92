"""Turns a reply's text, in any pieces, into content, reasoning and tool calls: `ReplyReader`.

It reads completions with `markup`. It holds back text that may yet become a mark, and whitespace
that may stand before a mark: between marks, whitespace is layout and part of no text. Pure. Owner:
one completion.
"""

from collections.abc import Sequence

from umad.chat.call_forms import AROUND, BARE, LAYOUT, call_form
from umad.chat.call_run import CallRun, CallTeller
from umad.chat.channels import ChannelReader
from umad.chat.events import CallEnded, Content, Reasoning, ReplyEvent, merged
from umad.chat.fenced import FENCE
from umad.chat.formats import ChatFormat
from umad.chat.marks import first_mark, is_half_mark, may_be_mark, may_go_on
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
            self._channels = ChannelReader(self._events.append, self._teller, calls=calls)
        self._thinking = format_.thinking
        self._calls = call_form(format_, fenced=fenced and bool(tools)) if calls else None
        self._bare = BARE.get(format_.family) if calls else None
        self._layout = LAYOUT.get(format_.family, ())
        self._around: tuple[str, ...] = AROUND.get(format_.family, ())
        self._again = self._thinking if format_.thinks_again else None
        self._one_call = one_call
        self.is_over = False
        self._text = ""
        self._spaces = ""
        self._at_start = self._thinking is not None or self._bare is not None
        self._after_mark = False
        self._is_thinking = False
        # The answer's text has begun, or the marks around it were opened.
        self._is_answering = self._is_around = False
        self._run: CallRun | None = None
        self._n_calls = 0
        self._marks = self._marks_of_answer()
        marks = (*(self._thinking or ()), *self._marks)
        self._mark_starts = frozenset([mark[0] for mark in marks])

    def push(self, text: str) -> list[ReplyEvent]:
        """The events that are certain once `text` is added."""
        if self.is_over:
            return []
        if self._is_plain(text):
            if self._is_thinking:
                return [Reasoning(text)]
            self._is_answering = True
            return [Content(text)]
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
        marks = self._marks
        at, mark = first_mark(self._text, marks)
        if mark and (last or not may_go_on(self._text[at:], marks)):
            self._write(self._text[:at])
            self._text = self._text[at + len(mark) :]
            self._cross(mark)
            return True
        keep = 0 if last else len(self._text) - at or may_be_mark(self._text, marks)
        certain = self._text[: len(self._text) - keep]
        self._text = self._text[len(certain) :]
        self._write(certain)
        return bool(certain)

    def _begin(self, *, last: bool) -> bool:
        """Thinking, and calls without a mark, only stand at the beginning."""
        stripped = self._text.lstrip()
        opening, closing = self._thinking or ("", "")
        if not last and (not stripped or (opening and may_go_on(stripped, (opening, closing)))):
            return False
        self._at_start = False
        if opening and stripped.startswith(opening):
            self._text = stripped.removeprefix(opening)
            self._think()
        elif closing and stripped.startswith(closing):
            # Models that were told not to think close a thinking that nobody opened.
            self._text = stripped.removeprefix(closing)
            self._answer()
        elif self._bare is not None and stripped.startswith("{"):
            before = self._text[: len(self._text) - len(stripped)]
            self._text = stripped
            self._run = CallRun(self._bare, self._teller, "" if self._after_mark else before)
        return True

    def _think(self) -> None:
        assert self._thinking is not None
        self._is_thinking = self._after_mark = True
        ends = () if self._calls is None else self._calls.end_thinking
        # The marks of an answer's layout end a thinking that was not closed.
        self._marks = (self._thinking[1], *ends, *(() if self._again else self._layout))

    def _answer(self, *, stray: tuple[str, ...] = ()) -> None:
        """The thinking is over. stray: marks that may yet come and then mean nothing."""
        self._is_thinking, self._thinking = False, self._again
        self._after_mark = True
        self._layout += stray
        self._marks = self._marks_of_answer()

    def _marks_of_answer(self) -> tuple[str, ...]:
        """The marks that end a piece of the answer."""
        calls = () if self._calls is None else self._calls.marks
        return (*calls, *self._layout, *self._around, *(self._again or ()))

    def _cross(self, mark: str) -> None:
        spaces, self._spaces = self._spaces, ""
        reader = None if self._calls is None else self._calls.readers.get(mark)
        if mark in self._around and self._is_words(mark):
            self._spaces = spaces
            self._write(mark)
            return
        self._after_mark = True
        if self._thinking is not None and mark == self._thinking[1]:
            if self._is_thinking:
                self._answer()
                self._at_start = self._bare is not None
        elif self._again is not None and mark == self._again[0]:
            self._think()
        elif reader is not None and self._calls is not None:
            self._n_calls = self._teller.n_calls
            self._teller.only_offered = self._is_thinking
            self._run = CallRun(
                reader,
                self._teller,
                spaces + mark,
                closings=self._calls.dropped,
                is_marked=mark != FENCE,
            )
        elif self._is_thinking:
            self._end_unclosed()

    def _is_words(self, mark: str) -> bool:
        """Whether a mark around the answer belongs to the answer here."""
        if mark == self._around[0]:
            is_words = self._is_answering
            self._is_around = self._is_around or not is_words
            return is_words
        return not self._is_around

    def _end_unclosed(self) -> None:
        """The thinking ends without its closing mark, which may come later."""
        assert self._thinking is not None
        self._answer(stray=(self._thinking[1],))

    def _read_call(self, run: CallRun) -> bool:
        text, self._text = self._text, ""
        if not run.feed(text):
            return False
        self._run = None
        self._text = run.left
        self._teller.only_offered = False
        if self._is_thinking and self._teller.n_calls > self._n_calls:
            self._end_unclosed()
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
        kept = text.rstrip() if self._marks else text
        if kept:
            self._is_answering = self._is_answering or not self._is_thinking
            self._out(self._spaces + kept)
            self._spaces = ""
        self._spaces += text[len(kept) :]

    def _out(self, text: str) -> None:
        if text:
            self._events.append(Reasoning(text) if self._is_thinking else Content(text))
