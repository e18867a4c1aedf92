"""Makes names and texts of other programs safe for a terminal. Not: tables (`umad.cli.tables`).

Imports nothing, because every command needs it before it knows what it is.
"""

import sys


def printable(name: str) -> str:
    """A name that another program chose; characters that a terminal would obey are written out."""
    return "".join([one if one.isprintable() else ascii(one)[1:-1] for one in name])


# A return is printed too: it would let a later text overwrite an earlier one.
_OBEYED: dict[int, str | None] = {
    **{code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))},
    13: None,
}


def shown_text(text: str) -> str:
    """A text of several lines that a model wrote, for stdout. A program gets it whole; for a
    person, characters that a terminal would obey are written out.
    """
    return text.translate(_OBEYED) if sys.stdout.isatty() else text
