"""Runs a call's reader, and keeps what has been told of the call and what can become text again.

Readers are generators over characters, as in `json_scan`. A reader begins behind the mark that
announces calls and returns the first character that is not part of them. Nothing of a call is told
before its name is known and its arguments begin. Not: how any family writes calls (`calls`,
`tagged`).
"""

from collections.abc import Callable, Generator, Sequence

from umad.chat.argument_types import ANY_TYPE, Types, types_of_argument
from umad.chat.events import CallArguments, CallBegan, CallEnded, ReplyEvent
from umad.chat.json_scan import Malformed, Scan
from umad.conversation import Tool

MAX_NAME_CHARS = 256


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

    def offers(self, name: str) -> bool:
        """Whether there is a tool `name`, as far as is known."""
        return not self._tools or name in self._tools

    def types(self, name: str, key: str) -> Types:
        """The types that the argument `key` of the tool `name` may have."""
        tool = self._tools.get(name)
        return ANY_TYPE if tool is None else types_of_argument(tool.parameters, key)

    def begin(self, name: str) -> None:
        """Begin a call of `name`. Raises `Malformed` if that cannot be a name."""
        if not 0 < len(name) <= MAX_NAME_CHARS:
            raise Malformed
        self.began = True
        self._tell(CallBegan(self.n_calls, name))

    def arguments(self, text: str) -> None:
        """Tell more of the arguments."""
        self._tell(CallArguments(self.n_calls, text))

    def end(self) -> None:
        """End the call, whole or broken. Does nothing if no call is under way."""
        if self.began:
            self._tell(CallEnded(self.n_calls))
            self.n_calls += 1
            self.began = False


CallReader = Callable[[CallTeller, str], Scan]


class CallRun:
    """One reader at work, from behind its mark to where its calls end or break.

    `mark` is the mark before the calls, as it was written.
    """

    def __init__(self, reader: CallReader, teller: CallTeller, mark: str) -> None:
        # The part that has become text after all; set once the run is over.
        self.as_text = ""
        # The text behind the calls; set once the run is over.
        self.left = ""
        self._reader = reader
        self._teller = teller
        self._mark = mark
        self._scan: Scan | None = None
        # Read since the mark or the last whole call, as long as no call has begun.
        self._raw: list[str] = []

    def feed(self, text: str) -> bool:
        """Read `text` ("" at the end of the reply); return whether the run is over."""
        for at, c in enumerate(text or [""]):
            try:
                self._take(c)
            except StopIteration as ended:
                self.left = ended.value + text[at + 1 :]
                return True
            except Malformed:
                if self._teller.began:
                    self._teller.end()
                    self.left = text[at:]
                else:
                    self.as_text = self._mark
                    self.left = "".join(self._raw) + text[at + 1 :]
                return True
        return False

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
