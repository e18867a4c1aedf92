"""Holds a conversation's turns and settings, and obeys the lines that begin with a slash.

    /help /set /clear /bye, as other programs of this kind have them

Not: reading lines (`umad.cli.typed`) or answering (`umad.cli.chat`). Nothing here blocks.
"""

import shlex
from dataclasses import dataclass, replace
from typing import Any

from umad.cli.answer_form import constraint_of
from umad.cli.sampling_flags import SAMPLING
from umad.cli.typed import BLOCK, unwrapped
from umad.content import MediaFile, joined
from umad.errors import BadRequest
from umad.request import ChatMessage, GenerateRequest, SamplingParams

HELP = f"""\
/set system TEXT      answer as TEXT says; without TEXT, as the model is used to
/set NAME VALUE       change a parameter, as temperature 0.2; default undoes it; /set shows all
/set format json|FILE answer with JSON, of any shape or of the schema in FILE; /set noformat ends it
/clear                begin another conversation, with the same settings
/bye                  leave, as Ctrl-D does
{BLOCK}                   begins and ends a message of several lines
Ctrl-C                ends an answer; at an empty prompt, the conversation"""

# The names of parameters in Ollama's conversations.
_ALSO_CALLED = {
    "num_predict": "max_tokens",
    "repeat_penalty": "repetition_penalty",
    "repeat_last_n": "penalty_last_n",
}
_OF_THE_DAEMON = {"num_ctx": "--ctx-size", "num_gpu": "--gpu-layers", "num_thread": "--threads"}
_KINDS: dict[str, type] = {name: kind for name, kind, _ in SAMPLING} | {"penalty_last_n": int}
_STOP = "stop"
_DEFAULT = "default"


class Left(Exception):
    """The person has left the conversation."""


@dataclass(slots=True, kw_only=True)
class Talk:
    """One conversation. `request` is what every turn asks for, besides its text."""

    request: GenerateRequest
    # As plain text: without a chat template, each message by itself.
    raw: bool = False
    system: str | None = None
    turns: tuple[ChatMessage, ...] = ()
    # Stand before the words of the first turn.
    files: tuple[MediaFile, ...] = ()

    def asking(self, text: str) -> GenerateRequest:
        """The request of the next turn. Raises `BadRequest` where the settings allow none."""
        if self.raw:
            return replace(self.request, prompt=text)
        first = () if self.system is None else (ChatMessage(role="system", content=self.system),)
        user = self._said(text)
        return replace(self.request, messages=(*first, *self.turns, user))

    def _said(self, text: str) -> ChatMessage:
        content, media = joined((*(() if self.turns else self.files), text))
        return ChatMessage(role="user", content=content, media=media)

    def keep(self, text: str, answer: str) -> None:
        """Remember a turn and its answer, be it cut short. A turn without any is forgotten, so that
        what was refused cannot spoil the next.
        """
        if answer and not self.raw:
            self.turns += (
                self._said(text),
                ChatMessage(role="assistant", content=answer),
            )

    def obey(self, line: str) -> str:
        """What a line that begins with a slash asks for is done; returns what to tell.

        Raises `BadRequest` for what it cannot mean, and `Left` at the end.
        """
        word, rest = _first_word(line)
        match word:
            case "/bye" | "/exit" | "/quit":
                raise Left
            case "/help" | "/?":
                return HELP
            case "/clear" | "/new":
                self.turns = ()
                return "(a new conversation)"
            case "/set" | "/show":
                return self._set(rest)
            case _:
                raise BadRequest(f"no command {word}; /help lists them")

    # -- /set ------------------------------------------------------------------------------------

    def _set(self, rest: str) -> str:
        name, value = _first_word(rest)
        if name == "parameter" and value:
            name, value = _first_word(value)
        match name:
            case "" | "parameter" | "parameters":
                return self._settings()
            case "system":
                return self._set_system(_unquoted(unwrapped(value)))
            case "format" if value:
                self.request = replace(self.request, constraint=constraint_of(value))
                return f"(answers are {value})"
            case "noformat":
                self.request = replace(self.request, constraint=None)
                return "(answers have any form)"
            case _:
                return self._set_parameter(_ALSO_CALLED.get(name, name), name, value)

    def _set_system(self, text: str) -> str:
        if self.raw:
            raise BadRequest("plain text has no system message; leave out --raw")
        self.system = text or None
        return "(the system message is set)" if text else "(there is no system message)"

    def _set_parameter(self, name: str, said: str, value: str) -> str:
        if said in _OF_THE_DAEMON:
            raise BadRequest(f"{said} is the daemon's: umad serve {_OF_THE_DAEMON[said]} N")
        if name != _STOP and name not in _KINDS:
            names = ", ".join((*_KINDS, _STOP, "system", "format"))
            raise BadRequest(f"/set knows no {said}; it knows {names}")
        if not value:
            return f"{name} {self._shown(name)}"
        given: Any = getattr(SamplingParams(), name)
        if value != _DEFAULT:
            given = _texts(value) if name == _STOP else _number(name, _KINDS[name], value)
        sampling = replace(self.request.sampling, **{name: given})
        sampling.check()
        self.request = replace(self.request, sampling=sampling)
        return f"({name} is {self._shown(name)})"

    def _settings(self) -> str:
        lines = [f"{name} {self._shown(name)}" for name in (*_KINDS, _STOP)]
        if not self.raw:
            lines.append(f"system {'none' if self.system is None else self.system}")
        constraint = self.request.constraint
        lines.append(f"format {'any' if constraint is None else constraint.text}")
        return "\n".join(lines)

    def _shown(self, name: str) -> str:
        match getattr(self.request.sampling, name):
            case None:
                return "the daemon's"
            case tuple() as texts:
                return shlex.join(texts) or "none"
            case value:
                return str(value)


def _first_word(text: str) -> tuple[str, str]:
    word, *rest = text.split(maxsplit=1) or [""]
    return word, rest[0].rstrip() if rest else ""


def _unquoted(text: str) -> str:
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if is_quoted else text


def _texts(value: str) -> tuple[str, ...]:
    try:
        return tuple(text for text in shlex.split(value) if text)
    except ValueError as error:
        raise BadRequest(f"{value}: {error}") from error


def _number(name: str, kind: type, value: str) -> int | float:
    try:
        number = float(value)
        if kind is int:
            # 40.0 is 40, and a long number is not to lose its last digits.
            return int(number) if "." in value and number.is_integer() else int(value)
        return number
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise BadRequest(f"{name} must be {what}, not {value!r}", field=name) from None
