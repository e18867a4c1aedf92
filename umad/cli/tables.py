"""Prints tables and figures in the one style of all commands. Not: the contents of the tables."""

import sys

from rich.console import Console
from rich.table import Table

from umad.cli.printed import printable

# In a pipe nothing is wrapped or cut: one line is one row.
PIPE_COLUMNS = 500


def open_console() -> Console:
    """A console on stdout."""
    is_terminal = sys.stdout.isatty()
    # Names come from other programs: text in them that looks like markup is part of the name.
    return Console(
        highlight=False, markup=False, emoji=False, width=None if is_terminal else PIPE_COLUMNS
    )


def plain_table(*, show_header: bool = True) -> Table:
    """A table without lines, so that `awk` reads it too."""
    return Table(box=None, pad_edge=False, header_style="bold", show_header=show_header)


def number(value: object) -> str:
    """A figure for a person: about three digits, or a whole number in full; - where unknown."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            size = abs(value)
            decimals = 3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0
            return f"{value:,.{decimals}f}"
        case int():
            return f"{value:,}"
        case _:
            return printable(str(value))


def byte_size(n_bytes: int) -> str:
    """Bytes for a person, in the powers of ten that disks are sold by: "4.9 GB"."""
    if n_bytes < 1000:
        return f"{n_bytes} B"
    size = n_bytes / 1000
    for unit in ("kB", "MB"):
        if size < 1000:
            return f"{size:.{1 if size < 10 else 0}f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def parameter_count(n_params: int | None) -> str:
    """The number of a model's weights, as models are named by it: "7.6B", "270M"."""
    if not n_params:
        return "-"
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if n_params >= unit:
            return f"{n_params / unit:.3g}{name}"
    return str(n_params)
