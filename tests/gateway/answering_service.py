"""A daemon of this process that answers every verb, for tests of what bodies mean. Not a test."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
from typing_extensions import override

from tests.gateway.scripted_service import Scripted
from umad.client.rows import ModelRow
from umad.config import HttpSettings
from umad.embedding import Embeddings, EmbedRequest, Ranked, Ranking, RerankRequest
from umad.gateway.app import create_app
from umad.jobs.job import Job, JobState, PullOrder
from umad.request import GenerateRequest

MODEL = "scripted"
# Over at once.
JOB = Job(
    id="0a0b0c0d", order=PullOrder(reference="hf:a/b"), owner="", state=JobState.DONE
).as_map() | {"is_new": True}
WIDTH = 4


class Answering(Scripted):
    """Says "hi" to everybody, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(words=("hi",), family="hermes")
        self.embedded: list[EmbedRequest] = []
        self.ranked: list[RerankRequest] = []

    @override
    async def models(self, *, stored: bool = False) -> list[ModelRow]:
        marks = {"prefix": 1, "suffix": 2, "middle": 3}
        facts = {"chat_family": "hermes", "takes_tools": True, "fim_tokens": marks, "ctx": 4096}
        return [ModelRow.of({"name": MODEL, "state": "ready", "n_cells": 4096, **facts})]

    @override
    async def embed(self, request: EmbedRequest) -> Embeddings:  # type: ignore[override]
        self.embedded.append(request)
        vectors = np.ones((len(request.inputs), WIDTH), np.float32)
        return Embeddings(model=MODEL, vectors=vectors, prompt_tokens=1)

    @override
    async def rerank(self, request: RerankRequest) -> Ranking:  # type: ignore[override]
        self.ranked.append(request)
        ranked = tuple(Ranked(index=at, score=0.5) for at in range(len(request.documents)))
        return Ranking(model=MODEL, ranked=ranked, prompt_tokens=1)

    @override
    async def tokenize(
        self, text: str, *, model: str | None = None, special: bool = True
    ) -> tuple[int, ...]:
        """A token for each character."""
        return tuple(ord(one) for one in text)

    @override
    async def detokenize(self, ids: Any, *, model: str | None = None) -> str:
        return "".join(chr(one) for one in ids)

    @override
    async def pieces(self, ids: Any, *, model: str | None = None) -> tuple[bytes, ...]:
        return tuple(chr(one).encode() for one in ids)

    @override
    async def load(self, model: str, **_how: Any) -> Any:
        return {"name": model}

    @override
    async def unload(self, model: str) -> None:
        return None

    @override
    async def estimate(self, model: str, **asked: Any) -> Any:
        return SimpleNamespace(as_map=dict)

    @override
    async def load_in_background(self, model: str) -> Any:
        return JOB

    @override
    async def pull(self, model: str, **limits: Any) -> Any:
        return JOB

    @override
    async def quantize(self, model: str, *, to: str | None = None, name: str | None = None) -> Any:
        return JOB

    @override
    async def jobs(self) -> Any:
        return [JOB]

    @override
    async def remove_model(self, model: str) -> Any:
        return {"name": model, "freed_bytes": 0}

    @override
    async def copy_model(self, model: str, name: str) -> Any:
        return {"name": name, "model": model}

    @override
    async def save_preset(self, name: str, model: str, **more: Any) -> Any:
        return {"name": name, "model": model}

    @override
    async def set_priority(self, target: str, lane: str) -> int:
        return 1

    @override
    async def cancel(self, request: Any) -> None:
        return None

    @override
    async def forget(self, session: str | None = None, *, all: bool = False) -> Any:
        found: Mapping[str, list[str]] = {"sessions": [], "in_use": []}
        return found


class Door:
    """A gateway before an `Answering`, made once for many requests."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.service = Answering()
        self._runner = runner
        transport = httpx.ASGITransport(create_app(HttpSettings(), self.service))
        self._http = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """The whole answer, streamed or not."""
        self.service.asked.clear()
        return self._runner.run(self._http.post(path, json=body))

    def asked(self, path: str, body: dict[str, Any]) -> GenerateRequest:
        """The generation that a body asks for."""
        answer = self.post(path, body)
        assert answer.status_code == 200, answer.text
        return self.service.asked[-1]

    def refusal(self, path: str, body: dict[str, Any]) -> str:
        """The field that the error of a body names."""
        answer = self.post(path, body)
        assert answer.status_code == 400, answer.text
        error = answer.json()
        inner = error["error"]
        if isinstance(inner, str):
            return str(error.get("field"))
        # Anthropic's errors have no field of their own; the message begins with it.
        return str(inner.get("param") or inner["message"].split()[0].removesuffix(":"))


@contextmanager
def open_door() -> Iterator[Door]:
    """A door, whose loop is closed at the end."""
    with asyncio.Runner() as runner:
        yield Door(runner)
