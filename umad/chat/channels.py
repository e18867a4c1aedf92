"""Reads harmony, the format of gpt-oss: messages on channels, each with a header of its own.

    <|channel|>analysis<|message|>thinking<|end|><|start|>assistant<|channel|>commentary
    to=functions.NAME <|constrain|>json<|message|>{...}<|call|>

The reply begins inside a header, because the prompt ends with <|start|>assistant.
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
_RECIPIENT = re.compile(r"\bto=(?:functions\.)?([^\s<]+)")
# A header is some ten words; what goes on for longer is none.
_MAX_HEADER_CHARS = 2 * MAX_NAME_CHARS


class ChannelReader:
    """`push` for each piece, `finish` once."""

    def __init__(self, tell: Callable[[ReplyEvent], None], teller: CallTeller) -> None:
        self._tell = tell
        self._teller = teller
        self._text = ""
        self._in_header = True
        self._is_reasoning = False

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
        if cut and not self._in_header and is_half_mark(text):
            text = ""
        if not self._in_header:
            self._write(text)
        elif not text.lstrip().startswith("<|"):
            self._tell(Content(text)) if text.strip() else None
        self._teller.end(is_whole=not cut)

    def _header(self) -> bool:
        at = self._text.find(_BODY)
        if at < 0:
            if len(self._text) <= _MAX_HEADER_CHARS:
                return False
            # No header at all: a reply that does without channels.
            self._in_header = self._is_reasoning = False
            return True
        header, self._text = self._text[:at], self._text[at + len(_BODY) :]
        self._in_header = False
        channel = _CHANNEL.search(header)
        recipient = _RECIPIENT.search(header)
        self._is_reasoning = channel is not None and channel[1] == "analysis" and not recipient
        if recipient is not None and len(recipient[1]) <= MAX_NAME_CHARS:
            self._teller.begin(recipient[1])
        return True

    def _body(self) -> bool:
        at, mark = first_mark(self._text, _ENDS)
        keep = 0 if mark else may_be_mark(self._text, _ENDS)
        certain = self._text[: at - keep]
        self._write(certain)
        self._text = self._text[len(certain) + len(mark) :]
        if mark:
            self._teller.end()
            self._in_header = True
            if mark == "<|channel|>":
                self._text = mark + self._text
        return bool(certain or mark)

    def _write(self, text: str) -> None:
        if not text:
            return
        if self._teller.began:
            self._teller.arguments(text)
        else:
            self._tell(Reasoning(text) if self._is_reasoning else Content(text))
