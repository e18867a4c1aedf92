"""The readers of each family's tool calls: generators over characters, as in `json_scan`.

A reader begins behind the mark that announces calls and returns the first character that is not
theirs. Nothing of a call is told before its name is known and its arguments begin, so until then
it can become text again. Sources: `umad.chat.formats`.
"""

import json
from collections.abc import Callable, Generator

from umad.chat.events import CallArguments, CallBegan, CallEnded, ReplyEvent
from umad.chat.formats import Family
from umad.chat.json_scan import Malformed, Scan, literal, skip_spaces, string, value

MAX_NAME_CHARS = 256
_ARGUMENTS = ("arguments", "parameters")
# What a call may have besides; anything else in a bare object means that it is no call.
_KEYS = ("name", "id", "type", *_ARGUMENTS)

DEEPSEEK_SEP = "<\uff5ctool\u2581sep\uff5c>"
DEEPSEEK_END = "<\uff5ctool\u2581call\u2581end\uff5c>"


class CallTeller:
    """Makes events of calls. began: a call is under way, so it cannot become text any more.
    n_calls: how many are over."""

    def __init__(self, tell: Callable[[ReplyEvent], None]) -> None:
        self._tell = tell
        self.n_calls = 0
        self.began = False

    def begin(self, name: str) -> None:
        """A call of `name`. Raises `Malformed` for what is no name."""
        if not 0 < len(name) <= MAX_NAME_CHARS:
            raise Malformed
        self.began = True
        self._tell(CallBegan(self.n_calls, name))

    def arguments(self, text: str) -> None:
        """More of the arguments."""
        self._tell(CallArguments(self.n_calls, text))

    def end(self) -> None:
        """The call is over, whole or broken; nothing if there is none."""
        if self.began:
            self._tell(CallEnded(self.n_calls))
            self.n_calls += 1
            self.began = False


CallReader = Callable[[CallTeller, str], Scan]


class CallRun:
    """One reader at work, from behind its mark to where its calls end or break.

    mark: what stood before, as it was written.
    as_text: what has become text after all; left: what stands behind: both once it is over.
    """

    def __init__(self, reader: CallReader, teller: CallTeller, mark: str) -> None:
        self.as_text = ""
        self.left = ""
        self._reader = reader
        self._teller = teller
        self._mark = mark
        self._scan: Scan | None = None
        # Read since the mark or the last whole call, as long as no call has begun.
        self._raw: list[str] = []

    def feed(self, text: str) -> bool:
        """Read `text`, "" being the end; whether it is over."""
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


def _text_until(c: str, end: str, most: int = MAX_NAME_CHARS) -> Generator[None, str, str]:
    """The text before `end`, which is consumed. Raises `Malformed` when it is not near."""
    text = c
    while not text.endswith(end):
        if not c or len(text) > most:
            raise Malformed
        c = yield
        text += c
    return text.removesuffix(end)


def _arguments(call: CallTeller, name: str, c: str) -> Scan:
    """A call's arguments. A string is taken for arguments that were encoded twice."""
    if c != '"':
        call.begin(name)
        return (yield from value(c, call.arguments))
    pieces: list[str] = []
    c = yield from string(c, pieces.append)
    text = _decoded("".join(pieces))
    call.begin(name)
    call.arguments(text)
    return c


def _decoded(text: str) -> str:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Malformed from error
    if not isinstance(found, str):
        raise Malformed
    return found


def call_object(call: CallTeller, c: str, *, bare: bool = False) -> Scan:
    """{"name": …, "arguments": {…}}, in any order. bare: it may be no call but an answer."""
    c = yield from literal(c, "{")
    name: str | None = None
    early: list[str] = []
    while True:
        c = yield from skip_spaces(c)
        pieces: list[str] = []
        c = yield from string(c, pieces.append)
        key = _decoded("".join(pieces))
        if bare and (key not in _KEYS or (key in _ARGUMENTS and name is None)):
            raise Malformed
        c = yield from skip_spaces(c)
        c = yield from literal(c, ":")
        c = yield from skip_spaces(c)
        if key == "name":
            pieces = []
            c = yield from string(c, pieces.append)
            name = _decoded("".join(pieces))
        elif key in _ARGUMENTS and name is not None and not call.began:
            c = yield from _arguments(call, name, c)
        else:
            pieces = []
            c = yield from value(c, pieces.append)
            if key in _ARGUMENTS:
                early = pieces
        c = yield from skip_spaces(c)
        if c == "}":
            break
        c = yield from literal(c, ",")
    if not call.began:
        if name is None or bare:
            raise Malformed
        call.begin(name)
        text = "".join(early) or "{}"
        call.arguments(_decoded(text) if text.startswith('"') else text)
    call.end()
    c = yield
    return c


def _hermes(call: CallTeller, c: str) -> Scan:
    """<tool_call>{…}</tool_call>, the end of which is not insisted on."""
    c = yield from skip_spaces(c)
    c = yield from call_object(call, c)
    return (yield from skip_spaces(c))


def _llama3(call: CallTeller, c: str) -> Scan:
    """{…}; {…}"""
    while True:
        c = yield from skip_spaces(c)
        c = yield from call_object(call, c, bare=True)
        c = yield from skip_spaces(c)
        if c != ";":
            return c
        c = yield


def _mistral(call: CallTeller, c: str) -> Scan:
    """[TOOL_CALLS][{…}, {…}], or since version 11 name[CALL_ID]id[ARGS]{…}, and no list."""
    c = yield from skip_spaces(c)
    if c != "[":
        head = yield from _text_until(c, "{")
        name = head.removesuffix("[ARGS]").partition("[CALL_ID]")[0].strip()
        c = yield from _arguments(call, name, "{")
        call.end()
        return c
    c = yield
    while True:
        c = yield from skip_spaces(c)
        c = yield from call_object(call, c)
        c = yield from skip_spaces(c)
        if c == "]":
            c = yield
            return c
        c = yield from literal(c, ",")


def _deepseek(call: CallTeller, c: str) -> Scan:
    """function<sep>name, fenced JSON (V3, R1), or name<sep>{…} (V3.1)."""
    name = (yield from _text_until(c, DEEPSEEK_SEP)).strip()
    c = yield
    fenced = name == "function"
    if fenced:
        name = (yield from _text_until(c, "\n")).strip()
        c = yield
        c = yield from skip_spaces(c)
        c = yield from literal(c, "```json")
    c = yield from skip_spaces(c)
    c = yield from _arguments(call, name, c)
    call.end()
    c = yield from skip_spaces(c)
    if fenced:
        c = yield from literal(c, "```")
    return c


# Family -> (mark that announces a call, its reader, marks of which nothing is left).
_HERMES = ("<tool_call>", _hermes, ("</tool_call>",))
READERS: dict[Family, tuple[str, CallReader, tuple[str, ...]]] = {
    # Models whose template knows no tools are told of Hermes' way (`umad.engine.chat`).
    "plain": _HERMES,
    "hermes": _HERMES,
    "llama3": ("<|python_tag|>", _llama3, ()),
    "mistral": ("[TOOL_CALLS]", _mistral, ()),
    "deepseek": (
        "<\uff5ctool\u2581call\u2581begin\uff5c>",
        _deepseek,
        (
            DEEPSEEK_END,
            "<\uff5ctool\u2581calls\u2581begin\uff5c>",
            "<\uff5ctool\u2581calls\u2581end\uff5c>",
        ),
    ),
}
# Llama 3 writes most calls without its mark; only the beginning of a reply can be one.
BARE: dict[Family, CallReader] = {"llama3": _llama3}
