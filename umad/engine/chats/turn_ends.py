"""Finds the places in a rendered chat up to which the chat's next turn will agree with it.

A model that keeps a state can go on only from a place where its state was saved, so such places are
worth saving at: the end of each user's turn and of each tool's, the end of the system's, and above
all the place where the answer begins. A template is a program, and no rule tells what it writes
where. So it is asked: it renders the chat once more with signs at the ends of the turns, followed
by an answer and a question that stand for the next turn. The signs are characters that Unicode
reserves and no text uses. A place counts only where both texts are equal up to it. Pure. Not: the
tokens of these places (`turn_marks`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from umad.conversation import ChatMessage
from umad.engine.chats.past_calls import RESULT_ENDS

# A sign stands where the words of a turn end, one where the first of them begin, and one for the
# words of the next turn. Guards use U+FDD0 and U+FDD1 (`plain_text`).
_END, _BEGIN, _NEXT = "\ufdd2", "\ufdd3", "\ufdd4"
_SIGNS = re.compile(f"([{_END}{_BEGIN}{_NEXT}])")
# The most ends of turns that are looked for, the latest of a chat.
MOST_ENDS = 16
# A template writes no more characters than this between a turn's words and a control token beside
# them.
MOST_BETWEEN = 64
# The beginning of a mark of thinking. The next turn may show the thought that the answer had, or
# none, or no marks for it; so the turns agree before such a mark.
_THOUGHT = re.compile(r"[<\[|]/?[^\s<>\[\]|]{0,12}think|<\|?channel", re.IGNORECASE)
_TOLD_BEFORE = ("system", "developer")
# An answer and a question that may follow a user's turn. None follow the result of a call: the turn
# that it belongs to goes on, and templates show that turn otherwise once it is over.
NEXT_TURN = (
    ChatMessage(role="assistant", content=_NEXT),
    ChatMessage(role="user", content=_NEXT),
)

Turns = tuple[ChatMessage, ...]


class TurnEnd(NamedTuple):
    """A place in a rendered chat, as positions of characters."""

    # The turn's own words end here, or some characters later.
    words: int
    # The next turn's text surely agrees up to here.
    agreed: int
    # The template closes the turn with what it writes behind the words, so the next turn's text
    # agrees up to the next control token, too.
    closes: bool = False


def with_signs(turns: Sequence[ChatMessage]) -> Turns:
    """The turns with signs at the ends of the latest of them."""
    ends = [at for at in range(len(turns)) if _ends_here(turns, at)][-MOST_ENDS:]
    first = next((at for at, turn in enumerate(turns) if turn.role not in _TOLD_BEFORE), None)
    signed = list(turns)
    for at in ends:
        # Templates trim what is around the words, so the sign stands right behind them. They know
        # a result by how it ends.
        words = turns[at].content.rstrip().removesuffix(RESULT_ENDS)
        content = f"{words}{_END}{turns[at].content[len(words) :]}"
        signed[at] = replace(turns[at], content=content)
    if first is not None and turns[first].role != "assistant" and signed[first].content.strip():
        content = signed[first].content
        words = content.lstrip()
        content = f"{content[: len(content) - len(words)]}{_BEGIN}{words}"
        signed[first] = replace(signed[first], content=content)
    return tuple(signed)


def unknown_words() -> str:
    """A text that stands for words, or for an id, which are not known yet. It has as many
    characters as the strictest templates demand of an id.
    """
    return 9 * _NEXT


def before_unknown(text: str) -> int | None:
    """The place where the first unknown words stand in a rendered chat; None without any."""
    at = text.find(_NEXT)
    return at if at >= 0 else None


def turn_ends(text: str, signed: str) -> tuple[TurnEnd, ...]:
    """The ends of turns in `text`, ascending. signed: the same chat with signs, rendered; with
    `NEXT_TURN` behind it or without.
    """
    if _SIGNS.search(text):  # a user wrote one
        return ()
    plain, places = _without_signs(signed)
    is_next = bool(places[_NEXT])
    n_equal = _n_equal(text, plain[: places[_NEXT][0]] if is_next else plain)
    ends = [at for at in places[_END] if at <= n_equal]
    found = [TurnEnd(max(0, at - MOST_BETWEEN), at) for at in places[_BEGIN] if at <= n_equal]
    if is_next and len(ends) < len(places[_END]):
        # The template shows the last turn in a way of its own: nothing behind this place lasts.
        last = TurnEnd(max(ends, default=max(0, n_equal - MOST_BETWEEN)), n_equal)
    elif ends:
        last = TurnEnd(ends[-1], n_equal) if is_next else TurnEnd(ends[-1], ends[-1], closes=True)
    else:
        return tuple(found)
    thought = _THOUGHT.search(text, last.words, last.agreed)
    if thought is not None:
        last = TurnEnd(last.words, thought.start())
    tail = text[last.words : last.agreed]
    for at in ends:
        if at < last.words:
            agreed = at + _n_equal(text[at : at + len(tail)], tail)
            found.append(TurnEnd(at, agreed, closes=True))
    return (*found, last)


def _ends_here(turns: Sequence[ChatMessage], at: int) -> bool:
    """Whether this turn is a user's or a tool's, and none of those follows at once."""
    asks = [turn.role not in (*_TOLD_BEFORE, "assistant") for turn in turns[at : at + 2]]
    return asks[0] and not any(asks[1:]) and bool(turns[at].content.strip())


def _without_signs(signed: str) -> tuple[str, dict[str, list[int]]]:
    pieces = _SIGNS.split(signed)
    places: dict[str, list[int]] = {_END: [], _BEGIN: [], _NEXT: []}
    at = 0
    for text, sign in _pairs(pieces):
        at += len(text)
        places[sign].append(at)
    return "".join(pieces[::2]), places


def _pairs(pieces: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each text with the sign that follows it."""
    return zip(pieces[:-1:2], pieces[1::2], strict=True)


def _n_equal(a: str, b: str) -> int:
    """How many characters two texts begin with alike. It takes no longer than to compare them."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low
