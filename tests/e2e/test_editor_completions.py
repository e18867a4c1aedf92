"""An editor's completions on the model that ships: what is shown, and what each key computes."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, cast

import pytest

from tests.infill.test_cases import cut_of
from tests.live import LiveDaemon, live_daemon
from umad.client import AsyncClient
from umad.infill.ghost import Asked, Ghost, GhostWriter
from umad.infill.manner import SINGLE, manner_of
from umad.request import GenerateRequest, Usage
from umad.service import Done, Event, Service

# Lines of different lengths, as a person writes them.
FILE = "".join(
    f"def step_{at}(value):\n    return value * {at}\n"
    if at % 3
    else f"total_{at} = step_1({at})\n"
    for at in range(260)
)
# What stands behind the cursor is at most a quarter of the window, and is computed at each key; a
# few tokens more are those at the cursor, and the marks.
MOST_NEW_TOKENS = 512 + 40


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    with live_daemon(tmp_path_factory.mktemp("d"), "nano") as daemon:
        yield daemon


class Noting:
    """A client that notes what each generation cost."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self.costs: list[Usage] = []

    async def models(self) -> Sequence[Mapping[str, Any]]:
        return await self._client.models()

    async def tokenize(self, text: str, *, model: str | None, special: bool) -> tuple[int, ...]:
        return await self._client.tokenize(text, model=model, special=special)

    async def events(self, request: GenerateRequest) -> AsyncIterator[Event]:
        async for event in self._client.events(request):
            if isinstance(event, Done):
                self.costs.append(event.usage)
            yield event


def typed(running: LiveDaemon, *texts: str) -> tuple[list[Ghost], list[Usage]]:
    """What is shown at the cursor of each text, asked one after another, and what it cost."""

    async def main() -> tuple[list[Ghost], list[Usage]]:
        async with running.client() as client:
            noting = Noting(client)
            writer = GhostWriter(cast(Service, noting))
            asked = [Asked(cut=cut_of(text), manner=SINGLE, name="steps.py") for text in texts]
            return [await writer.write(one) for one in asked], noting.costs

    return asyncio.run(main())


def test_the_model_that_ships_fills_a_gap(running: LiveDaemon) -> None:
    text = "def read_lines(path):\n    with open(path) as f:\n        |\n    return lines\n"
    assert manner_of(cut_of(text)) is not None

    ((ghost,), _) = typed(running, text)

    assert (ghost.model, ghost.is_blind) == ("nano", False)
    assert "\n" not in ghost.text


def test_a_key_computes_what_is_behind_the_cursor_and_not_the_file(running: LiveDaemon) -> None:
    before, after = FILE[:7000], FILE[7000:]
    keys = "new_total"

    _, costs = typed(
        running, *(f"{before}\n{keys[:at]}|\n{after}" for at in range(1, len(keys) + 1))
    )

    assert costs[0].prompt_tokens > 1200, "the file is long enough to be cut"
    new = [cost.prompt_tokens - cost.cached_tokens for cost in costs[1:]]
    # Of nine keys at most one begins a stride.
    assert sorted(new)[-2] <= MOST_NEW_TOKENS
