"""Tells conversations to servers turn by turn, in the situations in which a next turn comes.

    script(texts, ...)    the users' texts of one repetition
    tell(servers, ...)    all repetitions, row by row; contenders take turns

Not: the servers (`bench.chat_servers`), figures and goals (`bench.turns`).
Owner: the process that measures.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

from bench import running
from bench.chat_servers import ChatServer, Messages, Turn
from bench.chat_texts import ChatTexts
from umad.conversation import ChatMessage

FIRST = "first turn, cold"
SECOND = "second turn"
EDITED = "last message edited"
SECOND_APP = "another app, same system prompt"
OTHERS = "after other conversations"
PARKED = "after the pool was full"
RESTARTED = "after a restart"
ROWS = (FIRST, SECOND, EDITED, SECOND_APP, OTHERS, PARKED, RESTARTED)

QUESTION_TOKENS = 24
_TURNS = 5
_SPARE_TOKENS = 256
_MINE, _SECOND_APPS = "first app", "second app"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The users' texts of one repetition. stranger: of a conversation as long as this one."""

    system: str
    questions: tuple[str, ...]
    edited: str
    second_app: str
    others: tuple[str, ...]
    stranger: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Turns by row and contender, one of each repetition; conversations that umad had parked before
    the rows that say so."""

    turns: Mapping[str, Mapping[str, list[Turn]]]
    parked: Mapping[str, list[int]]


class Talk:
    """One contender's side of a repetition."""

    def __init__(self, server: ChatServer, script: Script, number: int) -> None:
        self._server = server
        self._script = script
        self._session = f"conversation-{number}"
        self._number = number
        self._messages: Messages = (ChatMessage(role="system", content=script.system),)
        self._asked = 0
        # Before the latest turn that waits for it.
        self.parked: int | None = None

    def turn(self, row: str) -> Turn:
        """Whatever comes before the turn of that row, and the turn."""
        self.parked = None
        if row == EDITED:
            edited = ChatMessage(role="user", content=self._script.edited)
            # The answer that followed is gone with it.
            return self._ask((*self._messages[:-2], edited))
        if row == SECOND_APP:
            question = ChatMessage(role="user", content=self._script.second_app)
            session = f"second-app-{self._number}"
            return self._server.turn(
                (self._messages[0], question), app=_SECOND_APPS, session=session
            )
        if row == OTHERS:
            for number, text in enumerate(self._script.others):
                self._other(f"other-{self._number}-{number}", text)
            self.parked = self._server.parked()
        elif row == PARKED:
            self._other(f"stranger-{self._number}", self._script.stranger)
            self.parked = self._server.parked()
        elif row == RESTARTED:
            self._server.restart()
        return self._next()

    def _next(self) -> Turn:
        question = ChatMessage(role="user", content=self._script.questions[self._asked])
        self._asked += 1
        self._messages = (*self._messages, question)
        turn = self._ask(self._messages)
        self._messages = (*self._messages, ChatMessage(role="assistant", content=turn.text))
        return turn

    def _ask(self, messages: Messages) -> Turn:
        return self._server.turn(messages, app=_MINE, session=self._session)

    def _other(self, session: str, text: str) -> None:
        message = ChatMessage(role="user", content=text)
        self._server.turn((message,), app=_SECOND_APPS, session=session)


def script(texts: ChatTexts, *, tokens: int, others: int, other_tokens: int) -> Script:
    """Texts of a conversation whose first turn has about `tokens` tokens."""
    return Script(
        system=texts.draw(tokens - 2 * QUESTION_TOKENS),
        questions=tuple(texts.draw(QUESTION_TOKENS) for _ in range(_TURNS)),
        edited=texts.draw(QUESTION_TOKENS),
        second_app=texts.draw(QUESTION_TOKENS),
        others=tuple(texts.draw(other_tokens) for _ in range(others)),
        stranger=texts.draw(tokens),
    )


def pool_cells(tokens: int) -> int:
    """Little more than one conversation takes."""
    return tokens + tokens // 4 + _SPARE_TOKENS


def tell(
    servers: Sequence[ChatServer],
    scripts: Sequence[Script],
    *,
    rows: Sequence[str],
    progress: Callable[[str], None],
    told: Callable[[str], None] = lambda _: None,
    rest_s: float = 0.0,
) -> Told:
    """All repetitions, on running servers; who is asked first changes from row to row. progress,
    told: take a line before each turn and one after it. rest_s: how long an answer is read before
    anybody asks again, so that no server's work at rest falls on the other's turn."""
    turns: dict[str, dict[str, list[Turn]]] = {
        row: {server.name: [] for server in servers} for row in rows
    }
    parked: dict[str, list[int]] = {}
    for number, each in enumerate(scripts):
        talks = {server.name: Talk(server, each, number) for server in servers}
        for at, row in enumerate(rows):
            for server in running.in_turn(servers, number + at):
                progress(f"{number + 1}/{len(scripts)}  {row}  {server.name}")
                talk = talks[server.name]
                turn = talk.turn(row)
                turns[row][server.name].append(turn)
                told(
                    f"{number + 1}/{len(scripts)}  {row}, {server.name}: {turn.first_ms:.0f} ms,"
                    f" {turn.n_prompt - turn.n_cached} of {turn.n_prompt} tokens computed"
                )
                if talk.parked is not None:
                    parked.setdefault(row, []).append(talk.parked)
                time.sleep(rest_s)
    return Told(turns=turns, parked=parked)
