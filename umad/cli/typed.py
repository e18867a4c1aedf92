"""Reads one message that a person types or pastes: a line, a pasted text, or lines between marks.

A message of several lines begins and ends with three double quotes. A paste is one message however
many lines it has. GNU readline puts it into the line as it is; where a terminal hands its marks
through, they are read here. Blocks while a person types.
"""

try:
    import readline  # gives `input` editing and a history, where it is built in
except ImportError:
    readline = None  # type: ignore[assignment]

PROMPT, MORE = "> ", "... "
# Three quotes, spelt so that tools which look for docstrings are not misled.
BLOCK = '"' * 3
# The marks that a terminal sets around a paste (xterm's bracketed paste).
_PASTE, _PASTED = "\x1b[200~", "\x1b[201~"


class Dropped(Exception):
    """Ctrl-C on a message that had begun: it is dropped, and the conversation goes on."""


def read_message() -> str:
    """The next message, without blanks around it.

    Raises `EOFError` at Ctrl-D, `KeyboardInterrupt` at Ctrl-C on an empty line, and `Dropped` at
    Ctrl-C on one that had begun.
    """
    begun = False
    try:
        text = input(PROMPT)
        begun = True
        if _PASTE in text:
            text = _until(text, _PASTED).replace(_PASTE, "").replace(_PASTED, "")
        stripped = text.strip()
        if stripped.startswith((BLOCK, "/")) and stripped.count(BLOCK) % 2:
            text = _until(text, BLOCK, after=text.index(BLOCK) + len(BLOCK))
    except KeyboardInterrupt:
        if begun or _line_so_far():
            raise Dropped from None
        raise
    return unwrapped(text)


def unwrapped(text: str) -> str:
    """The text without the marks of a block around it, and without blanks."""
    text = text.strip()
    if len(text) >= 2 * len(BLOCK) and text.startswith(BLOCK) and text.endswith(BLOCK):
        text = text.removeprefix(BLOCK).removesuffix(BLOCK)
    return text.strip()


def _until(text: str, end: str, *, after: int = 0) -> str:
    """The text with further lines, up to the one that has `end` in it."""
    lines = [text]
    while end not in (text[after:] if len(lines) == 1 else lines[-1]):
        lines.append(input(MORE))
    return "\n".join(lines)


def _line_so_far() -> str:
    """What stands in the line that Ctrl-C ended; empty where that is not known."""
    return "" if readline is None else readline.get_line_buffer()
