"""From a cursor to the text that is shown, over a service whose every word the test decides."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, cast

import pytest

from tests.infill.test_cases import cut_of
from umad.errors import EngineFailed, UnknownModel, Unsupported
from umad.infill.ghost import Asked, Ghost, GhostWriter
from umad.infill.manner import manner_of
from umad.request import GenerateRequest, Timings, Usage
from umad.service import Done, Event, Failed, Service, Tokens

FILLS = {"prefix": 1001, "suffix": 1002, "middle": 1003}
CODER = {"name": "coder", "ctx": 4096, "generates": True, "fim_tokens": FILLS}
CHATTER = {"name": "chatter", "ctx": 4096, "generates": True, "fim_tokens": {}}
EMBEDDER = {"name": "embedder", "ctx": 512, "generates": False}
# The daemon loads it for a request that names it.
LAZY = {"name": "lazy", "ctx": 4096, "generates": True, "fim_tokens": FILLS}
LOADING = {"name": "loading", "state": "starting"}


class Scripted:
    """A service that answers with given pieces, and notes what it was asked."""

    def __init__(self, pieces: Sequence[str | Failed], models: Sequence[Mapping[str, Any]]) -> None:
        self._pieces, self._models = pieces, models
        self.requests: list[GenerateRequest] = []
        self.loaded: list[str] = []
        self.said = 0
        self.was_closed = False

    async def models(self) -> Sequence[Mapping[str, Any]]:
        return self._models

    async def load(self, model: str, *, as_request: bool) -> Mapping[str, Any]:
        assert as_request, "a cursor loads nothing that a request would not"
        if model != LAZY["name"]:
            raise UnknownModel(f"no model is called {model!r}", field="model")
        self.loaded.append(model)
        return LAZY

    async def tokenize(self, text: str, *, model: str | None, special: bool) -> tuple[int, ...]:
        assert not special, "a user's text never becomes a mark"
        return tuple(ord(letter) for letter in text)

    async def events(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        self.requests.append(request)
        try:
            for piece in self._pieces:
                self.said += 1
                if isinstance(piece, Failed):
                    yield piece
                    return
                yield Tokens(index=0, text=piece, ids=(7,))
            yield Done(
                index=0,
                finish_reason="stop",
                usage=Usage(prompt_tokens=1, cached_tokens=0, completion_tokens=1),
                timings=Timings(queued_ms=0.0, first_token_ms=1.0, total_ms=2.0),
            )
        finally:
            self.was_closed = True


def asked(text: str, *, model: str | None = None) -> Asked:
    cut = cut_of(text)
    manner = manner_of(cut)
    assert manner is not None
    return Asked(cut=cut, manner=manner, name="f.py", model=model)


def write(
    text: str,
    *pieces: str | Failed,
    models: Sequence[Mapping[str, Any]] = (CODER,),
    model: str | None = None,
) -> tuple[Ghost, Scripted]:
    service = Scripted(pieces, models)
    ghost = asyncio.run(GhostWriter(cast(Service, service)).write(asked(text, model=model)))
    return ghost, service


def test_the_answer_is_shown_without_what_stands_there() -> None:
    ghost, service = write("print(|)", "'hi'", ")")

    assert ghost == Ghost(text="'hi'", model="coder")
    (request,) = service.requests
    assert request.prompt_ids == (1001, *map(ord, "print("), 1002, ord(")"), 1003)
    assert request.lane == "interactive"
    assert request.sampling.temperature == 0


def test_a_text_that_looks_like_a_mark_stays_text() -> None:
    _, service = write("# <|fim_middle|>\n|", "x")

    (request,) = service.requests
    assert request.prompt_ids is not None
    assert request.prompt_ids.count(1003) == 1


def test_half_of_a_character_is_a_sign_for_it() -> None:
    _, service = write("s = '\ud83d' \U0001f600|", "x")

    (request,) = service.requests
    assert request.prompt_ids is not None
    assert "".join(map(chr, request.prompt_ids)).startswith("\u03e9s = '\ufffd' \U0001f600")


def test_an_answer_that_begins_to_repeat_the_next_lines_is_ended() -> None:
    pieces = ("a += 1", "\n    return a\n", *["\nmore"] * 50)

    ghost, service = write("def f(a):\n    |\n    return a\n", *pieces)

    assert ghost.text == "a += 1"
    assert service.said == 2
    assert service.was_closed, "leaving the events cancels the request"


def test_a_model_without_marks_goes_on_behind_the_cursor() -> None:
    ghost, service = write("x = | + 1", "y", models=[CHATTER])

    assert ghost == Ghost(text="y", model="chatter", is_blind=True)
    (request,) = service.requests
    assert request.prompt_ids == tuple(map(ord, "x = "))


def test_without_text_before_the_cursor_such_a_model_is_not_asked() -> None:
    ghost, service = write("|x = 1", models=[CHATTER])

    assert ghost == Ghost(text="", model="chatter", is_blind=True)
    assert not service.requests


def test_the_first_model_that_can_fill_in_is_asked() -> None:
    ghost, _ = write("x = |", "1", models=[LOADING, EMBEDDER, CHATTER, CODER])

    assert ghost.model == "coder"


def test_the_model_that_was_named_is_asked() -> None:
    ghost, _ = write("x = |", "1", models=[CODER, CHATTER], model="Chatter:latest")

    assert ghost.model == "chatter"


def test_a_model_that_the_daemon_loads_for_requests_is_loaded_for_the_cursor() -> None:
    ghost, service = write("x = |", "1", models=[CODER], model="lazy")

    assert ghost.model == "lazy"
    assert service.loaded == ["lazy"]
    assert write("x = |", "1", models=[], model="lazy")[0].model == "lazy"


@pytest.mark.parametrize(
    ("models", "model", "words"),
    [
        ([], None, "umad load MODEL"),
        ([EMBEDDER, LOADING], None, "umad load MODEL"),
        ([CODER], "absent", "absent"),
    ],
)
def test_a_model_that_is_missing_is_named(
    models: Sequence[Mapping[str, Any]], model: str | None, words: str
) -> None:
    with pytest.raises(Exception, match=words) as raised:
        write("x = |", models=models, model=model)

    assert getattr(raised.value, "code", "") in ("unsupported", "unknown_model")


def test_the_daemons_error_is_raised() -> None:
    failed = Failed(code="engine_failed", message="it died", field=None, retryable=True)

    with pytest.raises(EngineFailed, match="it died"):
        write("x = |", failed)


def test_what_is_typed_along_the_answer_asks_nobody() -> None:
    service = Scripted(["value + 1"], [CODER])
    writer = GhostWriter(cast(Service, service))
    asyncio.run(writer.write(asked("x = |")))

    again = writer.remembered(asked("x = val|"))
    other = writer.remembered(asked("x = vat|"))

    assert again == Ghost(text="ue + 1")
    assert other is None
    assert len(service.requests) == 1


def test_what_is_forgotten_is_asked_anew() -> None:
    writer = GhostWriter(cast(Service, Scripted(["1"], [CODER])))
    asyncio.run(writer.write(asked("x = |")))

    writer.forget()

    assert writer.remembered(asked("x = |")) is None


def test_a_small_context_still_leaves_room_for_the_answer() -> None:
    small = {**CHATTER, "ctx": 300}

    _, service = write("y" * 5000 + "|", "z", models=[small])

    (request,) = service.requests
    assert request.prompt_ids is not None
    assert len(request.prompt_ids) + 128 < 300


def test_unsupported_is_what_a_missing_model_is() -> None:
    with pytest.raises(Unsupported):
        write("x = |", models=[])
