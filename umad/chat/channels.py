"""Reads harmony, the format of gpt-oss: messages on channels, each with a header of its own.

    <|channel|>analysis<|message|>thinking<|end|><|start|>assistant<|channel|>commentary
    to=functions.NAME <|constrain|>json<|message|>{...}<|call|>

The reply begins inside a header, because the prompt ends with <|start|>assistant. A message to
functions.NAME is a call, on whichever channel. A message to anybody else is for a tool that was
built into the model's training (browser.search, python) and that nobody runs here: it is skipped.
https://cookbook.openai.com/articles/openai-harmony. Pure. Owner: one completion.
"""

import re
from collections.abc import Callable

from umad.chat.call_run import MAX_NAME_CHARS, CallTeller
from umad.chat.events import Content, Reasoning, ReplyEvent
from umad.chat.marks import first_mark, is_half_mark, may_be_mark

_BODY = "<|message|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>", "<|start|>", "<|channel|>")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_FUNCTIONS = "functions."
# Models address themselves and the user now and then, and mean nobody.
_NOBODY = ("assistant", "user", "all")
# What decides where a call's arguments end: marks between the quotes of their JSON are text.
_OUTSIDE = re.compile('"|' + "|".join(map(re.escape, _ENDS)))
_IN_TEXT = re.compile(r'\\.|"', re.DOTALL)
_HEADER_BEGINS = re.compile(r"\s*(?:to=|.*<\|)", re.DOTALL)
# A header is some ten words; what goes on for longer is none.
_MAX_HEADER_CHARS = 2 * MAX_NAME_CHARS


class ChannelReader:
    """`push` for each piece, `finish` once."""

    def __init__(
        self, tell: Callable[[ReplyEvent], None], teller: CallTeller, *, calls: bool = True
    ) -> None:
        """calls: False where no tools were offered; then every message to a tool is skipped."""
        self._tell = tell
        self._teller = teller
        self._calls = calls
        self._text = ""
        self._in_header = True
        # Until a message has begun, the reply may be one without any header.
        self._may_be_bare = True
        self._is_reasoning = self._is_skipped = False
        # Between the quotes of a text among a call's arguments.
        self._in_text = False

    def push(self, text: str) -> None:
        """Tell the parts that are certain once `text` is added."""
        self._text += text
        while self._text and (self._header() if self._in_header else self._body()):
            pass

    def finish(self, *, cut: bool = False) -> None:
        """End the text. A header with nothing behind it tells nothing. `cut`: not by the model;
        then half a mark tells nothing, either.
        """
        text, self._text = self._text, ""
        # Behind a call's arguments only a mark can be held back.
        if cut and not self._in_header and (self._teller.began or is_half_mark(text)):
            text = ""
        if not self._in_header:
            self._write(text)
        elif self._may_be_bare and text.strip() and not _HEADER_BEGINS.match(text):
            self._tell(Content(text))
        self._teller.end(is_whole=not cut)

    def _header(self) -> bool:
        at = self._text.find(_BODY)
        if at < 0:
            if len(self._text) <= _MAX_HEADER_CHARS:
                return False
            # No header at all: a reply that does without channels.
            self._in_header = self._is_reasoning = self._is_skipped = False
            self._may_be_bare = False
            return True
        header, self._text = self._text[:at], self._text[at + len(_BODY) :]
        self._in_header = self._may_be_bare = self._in_text = False
        channel = _CHANNEL.search(header)
        recipient = _RECIPIENT.search(header)
        to = "" if recipient is None or recipient[1] in _NOBODY else recipient[1]
        name = self._called(to)
        self._is_reasoning = channel is not None and channel[1] == "analysis" and not to
        self._is_skipped = bool(to) and not name
        if name:
            self._teller.begin(name)
        return True

    def _called(self, to: str) -> str:
        """The function that a message to `to` calls; "" where it calls none."""
        if not self._calls or len(to) > MAX_NAME_CHARS:
            return ""
        if to.startswith(_FUNCTIONS):
            return to.removeprefix(_FUNCTIONS)
        # Without its namespace only a tool that is on offer is meant.
        return to if to in self._teller.names else ""

    def _body(self) -> bool:
        certain, mark = self._arguments() if self._teller.began else self._words()
        self._write(certain)
        self._text = self._text[len(certain) + len(mark) :]
        if mark:
            self._teller.end()
            self._in_header = True
            if mark == "<|channel|>":
                self._text = mark + self._text
        return bool(certain or mark)

    def _words(self) -> tuple[str, str]:
        """The text that is certain, and the mark behind it; "" while there is none."""
        at, mark = first_mark(self._text, _ENDS)
        return self._text[: at - (0 if mark else may_be_mark(self._text, _ENDS))], mark

    def _arguments(self) -> tuple[str, str]:
        """The same for the arguments of a call."""
        text, at = self._text, 0
        while found := (_IN_TEXT if self._in_text else _OUTSIDE).search(text, at):
            at = found.end()
            if found[0] == '"':
                self._in_text = not self._in_text
            elif not self._in_text:
                return text[: found.start()], found[0]
        # The quote behind a backslash ends nothing, so the two stay together.
        keep = text.endswith("\\", at) if self._in_text else may_be_mark(text[at:], _ENDS)
        return text[: len(text) - keep], ""

    def _write(self, text: str) -> None:
        if not text or self._is_skipped:
            return
        if self._teller.began:
            self._teller.arguments(text)
        else:
            self._tell(Reasoning(text) if self._is_reasoning else Content(text))
