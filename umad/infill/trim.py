"""Takes from a model's answer what stands behind the cursor already. Pure.

A model that fills a gap often goes on with the text behind it: it closes the bracket that the
editor has closed, or writes the next lines once more. Nobody wants these twice.
"""

from umad.infill.cut import CLOSERS, Cut

_OPENING, _CLOSING = "([{", ")]}"


def trimmed(text: str, cut: Cut, *, is_single: bool) -> str:
    """What of the answer `text` is shown at the cut's cursor; "" for nothing."""
    text = text.replace("\r\n", "\n")
    if is_single:
        text = text.partition("\n")[0]
    text = _without_next_lines(text.rstrip(), cut)
    return _without_rest_of_line(text, cut).rstrip()


def _without_next_lines(text: str, cut: Cut) -> str:
    """`text` up to where it begins to repeat the lines behind the cursor's."""
    following = [line.rstrip() for line in cut.after.split("\n")[1:]]
    while following and not following[0]:
        following.pop(0)
    if not following:
        return text
    lines = text.split("\n")
    own = [line.rstrip() for line in lines]
    own[0] = (cut.line_before + own[0]).rstrip()
    # The first line repeats the next one only where nothing else stands in it.
    begins = 0 if not cut.line_before.strip() and not cut.line_after.strip() else 1
    for at in range(begins, len(own)):
        if own[at] and _goes_on_as(own[at:], following):
            return "\n".join(lines[:at]).rstrip()
    return text


def _goes_on_as(lines: list[str], following: list[str]) -> bool:
    """Whether all of `lines` are the beginning of `following`; the last may be cut off."""
    if len(lines) > len(following):
        return False
    *whole, last = lines
    return whole == following[: len(whole)] and (
        last == following[len(whole)] or (bool(whole) and following[len(whole)].startswith(last))
    )


def _without_rest_of_line(text: str, cut: Cut) -> str:
    """`text` without an end that the rest of the cursor's line repeats."""
    rest = cut.line_after.rstrip()
    if not rest:
        return text
    for length in range(min(len(rest), len(text)), 0, -1):
        if not text.endswith(rest[:length]):
            continue
        shorter = text[: len(text) - length]
        if not CLOSERS.issuperset(rest[:length]) or not _lacks_closing(shorter, rest, cut):
            return shorter
    return text


def _lacks_closing(text: str, rest: str, cut: Cut) -> bool:
    """Whether `text` between its neighbours opens more brackets than are closed: then the bracket
    that was about to be taken away is needed.
    """
    line = cut.line_before + text + rest
    opened = sum(line.count(char) for char in _OPENING)
    return opened > sum(line.count(char) for char in _CLOSING)
