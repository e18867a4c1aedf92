"""Writes figures, bars and sparklines as text of a fixed width. Pure.

A width is counted in cells of a terminal: a name may have characters that take two.
"""

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

BLOCKS = " ▁▂▃▄▅▆▇█"
# For terminals whose encoding has no blocks.
PLAIN_BLOCKS = " .:-=+*#@"
# A sparkline's highest sign stands for so many times what a reader would wait alone: the guard lets
# no gap be longer.
FULL_OF_SOLO = 3.0


def cut(text: str, width: int) -> str:
    """`text` in exactly `width` cells of a terminal; what does not fit ends in a tilde."""
    if width <= 0:
        return ""
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "~"
    return set_cell_size(text, width)


def right(text: str, width: int) -> str:
    """`text` at the right of `width` cells; longer text is cut as `cut` does."""
    return " " * max(0, width - cell_len(text)) + cut(text, min(width, cell_len(text)))


def figure(value: float | int | None) -> str:
    """About three digits, however large: 0.42, 8.1, 41, 1234, 12k; - where nothing was measured."""
    if value is None:
        return "-"
    size = abs(value)
    if not size:
        return "0"
    # Each bound is where rounding comes to the next form: 99.96 is 100 and not 100.0.
    if size >= 9_999.5:
        for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if size >= 0.9995 * unit:
                return f"{value / unit:.{0 if size >= 9.95 * unit else 1}f}{name}"
    if isinstance(value, int) or size >= 99.95:
        return f"{value:.0f}"
    return f"{value:.{1 if size >= 0.995 else 2}f}"


def percent(value: float | None) -> str:
    """A share in at most four characters: 0.3%, 12%, 100%; - where nothing was measured."""
    if value is None:
        return "-"
    return f"{value:.0f}%" if value >= 9.95 or not value else f"{value:.1f}%"


def age(ms: float) -> str:
    """How long ago, in whole units of the largest that has passed: 3s, 12m, 4h, 2d."""
    seconds = int(ms / 1e3)
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{name}"
    return f"{seconds}s"


def meter(part: float | None, whole: float | None, width: int) -> str:
    """A bar of `width` signs, full at the whole; only dots where one of them is not known."""
    if part is None or not whole or width <= 0:
        return "." * max(0, width)
    filled = round(min(1.0, max(0.0, part / whole)) * width)
    # A little is not nothing.
    filled = max(filled, 1) if part > 0 else filled
    return "#" * filled + "." * (width - filled)


def sparkline(
    values: Sequence[float], width: int, *, solo_ms: float | None, plain: bool = False
) -> str:
    """The latest values as one sign each, the newest at the right; blank where there was no gap.

    solo_ms: the wait alone; where it is not known, the largest value is the measure.
    """
    signs = PLAIN_BLOCKS if plain else BLOCKS
    shown = list(values)[-width:] if width > 0 else []
    full = FULL_OF_SOLO * solo_ms if solo_ms else max(shown, default=0.0)
    if full <= 0:
        return " " * width
    steps = len(signs) - 1
    drawn = [
        signs[0] if one <= 0 else signs[max(1, min(steps, round(one / full * steps)))]
        for one in shown
    ]
    return "".join(drawn).rjust(width)
