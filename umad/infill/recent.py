"""Keeps the last answers, and finds one that still holds after more was typed. Pure.

Typing what the grey text shows is the usual case. Then the text before the cursor is the one that
was asked about and some of the answer: the rest of the answer still holds, and nobody is asked.
"""

from collections import OrderedDict
from dataclasses import dataclass

from umad.infill.cut import Cut

MAX_ANSWERS = 256
# So far back an answer is looked for: longer than most answers.
MAX_WALK_CHARS = 256
# Two cursors with so much equal text around them are the same; the whole cut would be hashed at
# each step of the walk.
_BEFORE_CHARS = 1024
_AFTER_CHARS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    # The model, the file and the number of lines asked for: answers of others do not count.
    scope: str
    before: str
    after: str


class RecentAnswers:
    """Answers by the cursor they belong to; the least recently used are dropped."""

    def __init__(self, most: int = MAX_ANSWERS) -> None:
        self._most = most
        self._answers: OrderedDict[_Place, str] = OrderedDict()

    def keep(self, scope: str, cut: Cut, text: str) -> None:
        """Remember that `text` was the answer at this cursor; "" is an answer too."""
        place = _place(scope, cut.before, cut.after)
        self._answers[place] = text
        self._answers.move_to_end(place)
        while len(self._answers) > self._most:
            self._answers.popitem(last=False)

    def find(self, scope: str, cut: Cut) -> str | None:
        """What is left to show of an answer; None where none holds.

        An answer of "" holds only at its own cursor: one more letter may change the model's mind.
        """
        for walked in range(min(MAX_WALK_CHARS, len(cut.before)) + 1):
            end = len(cut.before) - walked
            place = _place(scope, cut.before[max(0, end - _BEFORE_CHARS) : end], cut.after)
            text = self._answers.get(place)
            typed = cut.before[end:]
            if text is None or not text.startswith(typed) or (walked and len(text) == walked):
                continue
            self._answers.move_to_end(place)
            return text[walked:]
        return None

    def clear(self) -> None:
        """Forget all answers."""
        self._answers.clear()


def _place(scope: str, before: str, after: str) -> _Place:
    return _Place(scope=scope, before=before[-_BEFORE_CHARS:], after=after[:_AFTER_CHARS])
