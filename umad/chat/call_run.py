"""Runs a call's reader, and keeps what has been told of the call and what can become text again.

Readers are generators over characters, as in `json_scan`. A reader begins behind the mark that
announces calls and returns the first character that is not part of them. Nothing of a call is told
before its name is known and its arguments begin. Not: how any family writes calls (`calls`,
`tagged`).
"""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from umad.chat.argument_types import Types, types_of_argument
from umad.chat.events import CallArguments, CallBegan, CallEnded, ReplyEvent
from umad.chat.json_scan import Malformed, Scan
from umad.chat.marks import first_mark
from umad.chat.schema_fit import fits
from umad.conversation import Tool

MAX_NAME_CHARS = 256
# A call that breaks goes on to the mark that closes it, if that is so near.
MAX_BROKEN_CHARS = 4096


class CallTeller:
    """Makes events of calls."""

    def __init__(self, tell: Callable[[ReplyEvent], None], tools: Sequence[Tool] = ()) -> None:
        """`tools` are those on offer; it is empty where they are not known."""
        self._tell = tell
        self._tools = {tool.name: tool for tool in tools}
        # How many calls are over.
        self.n_calls = 0
        # A call is under way, so it cannot become text any more.
        self.began = False
        # All its arguments have been told, whatever may be missing around them.
        self.has_arguments = False
        # What looks like a call of another tool is none.
        self.only_offered = False

    @property
    def names(self) -> tuple[str, ...]:
        """The tools on offer, as far as they are known."""
        return tuple(self._tools)

    def fits(self, name: str, arguments: Mapping[str, Any]) -> bool:
        """Whether `arguments` are known to be what the tool `name` takes."""
        tool = self._tools.get(name)
        return tool is not None and fits(arguments, tool.parameters)

    def offers(self, name: str) -> bool:
        """Whether there is a tool `name`, as far as is known."""
        return not self._tools or name in self._tools

    def parameters(self, name: str) -> Mapping[str, Any]:
        """The schema of the arguments of the tool `name`; {} where it is not known."""
        tool = self._tools.get(name)
        return {} if tool is None else tool.parameters

    def types(self, name: str, key: str) -> Types:
        """The types that the argument `key` of the tool `name` may have."""
        return types_of_argument(self.parameters(name), key)

    def begin(self, name: str) -> None:
        """Begin a call of `name`. Raises `Malformed` if that cannot be a name."""
        if not 0 < len(name) <= MAX_NAME_CHARS or (self.only_offered and not self.offers(name)):
            raise Malformed
        self.began = True
        self.has_arguments = False
        self._tell(CallBegan(self.n_calls, name))

    def arguments(self, text: str) -> None:
        """Tell more of the arguments."""
        self._tell(CallArguments(self.n_calls, text))

    def text(self, text: str) -> None:
        """Tell more of a text among the arguments, as it is without quotes."""
        if text:
            self._tell(CallArguments(self.n_calls, json.dumps(text, ensure_ascii=False)[1:-1]))

    def end(self, *, is_whole: bool = True) -> None:
        """End the call, whole or broken. Does nothing if no call is under way."""
        if self.began:
            self._tell(CallEnded(self.n_calls, is_whole))
            self.n_calls += 1
            self.began = False


CallReader = Callable[[CallTeller, str], Scan]


class CallRun:
    """One reader at work, from behind its mark to where its calls end or break.

    `mark` is the mark before the calls, as it was written; `closings` are the marks that may stand
    behind them. `is_marked`: the mark can be nothing but a call's.
    """

    def __init__(
        self,
        reader: CallReader,
        teller: CallTeller,
        mark: str,
        *,
        closings: tuple[str, ...] = (),
        is_marked: bool = False,
    ) -> None:
        # The part that has become text after all; set once the run is over.
        self.as_text = ""
        # The text behind the calls; set once the run is over.
        self.left = ""
        self._reader = reader
        self._teller = teller
        self._mark = mark
        self._closings = closings
        self._is_marked = is_marked
        self._scan: Scan | None = None
        # Read since the mark or the last whole call, as long as no call has begun.
        self._raw: list[str] = []
        # The text since a call broke whose name has gone out; None while none has.
        self._broken: str | None = None

    def feed(self, text: str) -> bool:
        """Read `text` ("" at the end of the reply); return whether the run is over."""
        if self._broken is not None:
            return self._go_on_broken(text)
        for at, c in enumerate(text or [""]):
            try:
                self._take(c)
            except StopIteration as ended:
                self.left = ended.value + text[at + 1 :]
                return True
            except Malformed:
                if self._teller.began:
                    self._broken = ""
                    return self._go_on_broken(text[at:])
                self.as_text = self._mark
                self.left = "".join(self._raw) + text[at + 1 :]
                return True
        return False

    def cut(self) -> bool:
        """The reply was cut off here. Return whether nothing of the run is text: a call without its
        end is none, and its marks are nobody's words.
        """
        if self._teller.began:
            if self._broken:
                self._teller.arguments(self._broken)
            self._teller.end(is_whole=self._teller.has_arguments and not self._broken)
            return True
        return self._is_marked

    def _go_on_broken(self, text: str) -> bool:
        """A call broke whose name has gone out. Its words up to its closing mark are its arguments,
        so that the client can say what is wrong with them; without that mark they are text.
        """
        self._broken = rest = (self._broken or "") + text
        at, closing = first_mark(rest, self._closings)
        words = ""
        if closing and at + len(closing) <= MAX_BROKEN_CHARS:
            if words := rest[:at].rstrip():
                self._teller.arguments(words)
            self.left = rest[at:]
        elif text and self._closings and len(rest) <= MAX_BROKEN_CHARS:
            return False
        else:
            self.left = rest
        self._teller.end(is_whole=self._teller.has_arguments and not words)
        return True

    def _take(self, c: str) -> None:
        teller = self._teller
        n_whole = teller.n_calls
        if not teller.began:
            self._raw.append(c)
        if self._scan is None:
            self._scan = self._reader(teller, c)
            next(self._scan)
        else:
            self._scan.send(c)
        if teller.n_calls > n_whole:
            self._mark, self._raw = "", []


def text_until(c: str, end: str, most: int = MAX_NAME_CHARS) -> Generator[None, str, str]:
    """The text before `end`; `end` itself is consumed. Raises `Malformed` when it is not near."""
    text = c
    while not text.endswith(end):
        if not c or len(text) > most:
            raise Malformed
        c = yield
        text += c
    return text.removesuffix(end)


def text_before(c: str, end: str, out: Callable[[str], None]) -> Generator[None, str, None]:
    """Give the text before `end` to `out` while it is read; `end` itself is consumed. Raises
    `Malformed` when the text ends without it.
    """
    held = ""
    while True:
        if not c:
            out(held)
            raise Malformed
        held += c
        while held and not end.startswith(held):
            out(held[0])
            held = held[1:]
        if held == end:
            return
        c = yield
