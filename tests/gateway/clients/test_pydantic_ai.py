"""The `pydantic-ai` package over both of OpenAI's dialects."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel, ConfigDict
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.gateway.gateways import LiveGateway
from tests.gateway.scripted import LAST_WORDS, MODEL, hermes_call, scripted_gateway

T = TypeVar("T")
Kind = type[OpenAIChatModel] | type[OpenAIResponsesModel]
KINDS = (OpenAIChatModel, OpenAIResponsesModel)
# Drawn at random an answer may be empty.
SHORT: Any = {"max_tokens": 16, "temperature": 0.0}
ENOUGH: Any = {"max_tokens": 200, "temperature": 0.0}


class Answer(BaseModel):
    # Closed, so that a model that writes anything at all comes to its end.
    model_config = ConfigDict(extra="forbid")
    yes: bool


def through(address: str, work: Callable[[OpenAIProvider], Awaitable[T]]) -> T:
    """What `work` makes of the gateway at `address`; every connection is closed behind it."""

    async def run() -> T:
        async with AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
            return await work(OpenAIProvider(openai_client=client))

    return asyncio.run(run())


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("scripted")
    with scripted_gateway(folder, hermes_call("weather", {"city": "Oslo"})) as (address, _):
        yield address


@pytest.mark.parametrize("kind", KINDS)
def test_text_comes_whole_and_as_a_stream(gateway: LiveGateway, kind: Kind) -> None:
    async def ask(provider: OpenAIProvider) -> tuple[str, int, str]:
        agent = Agent(kind("nano", provider=provider), model_settings=SHORT)
        whole = await agent.run("Hello there")
        async with agent.run_stream("Hello there") as stream:
            pieces = [piece async for piece in stream.stream_text(delta=True)]
        return whole.output, whole.usage.output_tokens, "".join(pieces)

    whole, n_tokens, streamed = through(gateway.address, ask)

    assert whole
    assert 0 < n_tokens <= 16
    assert streamed


@pytest.mark.parametrize("output", [NativeOutput(Answer), ToolOutput(Answer)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_type_is_kept_to_as_a_format_and_as_a_tool(
    gateway: LiveGateway, kind: Kind, output: Any
) -> None:
    async def ask(provider: OpenAIProvider) -> object:
        model = kind("nano", provider=provider)
        return (await Agent(model, output_type=output, model_settings=ENOUGH).run("So?")).output

    assert isinstance(through(gateway.address, ask), Answer)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tool_is_run_and_its_answer_answered(scripted: str, kind: Kind) -> None:
    cities: list[str] = []

    def weather(city: str) -> str:
        """Weather in a city."""
        cities.append(city)
        return "4 degrees"

    async def ask(provider: OpenAIProvider) -> str:
        agent = Agent(kind(MODEL, provider=provider), tools=[weather])
        return (await agent.run("Weather in Oslo?")).output

    assert through(scripted, ask) == LAST_WORDS
    assert cities == ["Oslo"]


def test_a_model_that_is_not_there_is_said(gateway: LiveGateway) -> None:
    async def ask(provider: OpenAIProvider) -> None:
        await Agent(OpenAIChatModel("nono", provider=provider)).run("Hello")

    with pytest.raises(ModelHTTPError, match="nano") as caught:
        through(gateway.address, ask)

    assert caught.value.status_code == 404
