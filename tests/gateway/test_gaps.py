"""A gap in a file is one prompt, whichever dialect an editor speaks."""

import asyncio
from typing import Any

import httpx
import pytest
from typing_extensions import override

from tests.gateway.answering_service import Answering
from umad.client.rows import ModelRow
from umad.config import HttpSettings
from umad.gateway.app import create_app

MARKS = {"prefix": 1, "suffix": 2, "middle": 3}
FACTS = {"ctx": 4096, "n_cells": 4096, "adds_bos": True, "bos_token": 9}
BODIES: dict[str, dict[str, Any]] = {
    "/infill": {"input_prefix": "ab", "input_suffix": "c"},
    "/v1/completions": {"prompt": "ab", "suffix": "c", "max_tokens": 4},
    "/api/generate": {"prompt": "ab", "suffix": "c", "stream": False},
}
FILLED = (9, 1, ord("a"), ord("b"), 2, ord("c"), 3)


class OnDemand(Answering):
    """A daemon whose model is loaded by the first request that names it."""

    def __init__(self, *, is_loaded: bool, marks: dict[str, int]) -> None:
        super().__init__()
        self._is_loaded, self._marks = is_loaded, marks

    def _row(self) -> ModelRow:
        return ModelRow.of({"name": "coder", "state": "ready", "fim_tokens": self._marks, **FACTS})

    @override
    async def models(self, *, stored: bool = False) -> list[ModelRow]:
        return [self._row()] if self._is_loaded else []

    @override
    async def load(self, model: str, **_how: Any) -> Any:
        self._is_loaded = True
        return self._row()


def posted(service: OnDemand, path: str, **more: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(HttpSettings(), service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.post(path, json={**BODIES[path], "model": "coder", **more})

    return asyncio.run(ask())


@pytest.mark.parametrize("is_loaded", [True, False], ids=["loaded", "on demand"])
@pytest.mark.parametrize("path", BODIES)
def test_every_dialect_asks_the_same(path: str, is_loaded: bool) -> None:
    service = OnDemand(is_loaded=is_loaded, marks=MARKS)

    answer = posted(service, path)

    assert answer.status_code == 200, answer.text
    assert [one.prompt_ids for one in service.asked] == [FILLED]


@pytest.mark.parametrize("path", BODIES)
def test_a_model_without_marks_is_named_and_not_asked(path: str) -> None:
    service = OnDemand(is_loaded=True, marks={"prefix": 1})

    answer = posted(service, path)

    assert answer.status_code in (400, 501)
    assert "coder cannot fill in the middle: it has no token for suffix, middle" in answer.text
    assert not service.asked


def test_an_answer_as_long_as_the_context_leaves_room_for_the_text_around_the_cursor() -> None:
    service = OnDemand(is_loaded=True, marks=MARKS)

    posted(service, "/infill", input_prefix="a" * 3000, n_predict=4096)

    (asked,) = service.asked
    assert asked.prompt_ids is not None
    assert len(asked.prompt_ids) > 1000
