"""Finds marks in text that has not ended. Pure."""


def first_mark(text: str, marks: tuple[str, ...]) -> tuple[int, str]:
    """The place and text of the first of `marks`, of the longest where one begins with another; the
    text's length and "" if there is none.
    """
    found = [(at, -len(mark), mark) for mark in marks if (at := text.find(mark)) >= 0]
    if not found:
        return len(text), ""
    at, _, mark = min(found)
    return at, mark


def may_go_on(text: str, marks: tuple[str, ...]) -> bool:
    """Whether `text`, which is a mark, may yet become a longer one."""
    return any(len(mark) > len(text) and mark.startswith(text) for mark in marks)


def may_be_mark(text: str, marks: tuple[str, ...]) -> int:
    """How many characters at the end of `text` may be the beginning of a mark."""
    most = max((len(mark) - 1 for mark in marks), default=0)
    for length in range(min(most, len(text)), 0, -1):
        tail = text[-length:]
        if any(mark.startswith(tail) for mark in marks):
            return length
    return 0


def is_half_mark(held: str) -> bool:
    """Whether `held`, which was kept back as the beginning of a mark, shows that it is one. "<"
    alone is a sign that people write.
    """
    return any(c.isalpha() for c in held)
