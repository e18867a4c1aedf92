"""What the engine refuses late: a long prompt has to be tokenized before it is too long."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from typing_extensions import override

from tests.gateway.scripted_service import Scripted, post
from umad.config import HttpSettings
from umad.gateway.generation import MOST_TOKENIZING_S, refused_within_s
from umad.request import GenerateRequest
from umad.service import Accepted, Event, Failed, Take


class SlowToRefuse(Scripted):
    """Refuses every prompt, 0.3 seconds after it was accepted."""

    @override
    async def events(
        self, request: GenerateRequest, *, take: Take | None = None
    ) -> AsyncGenerator[Event, None]:
        yield Accepted(request="r1", model="scripted", lane="interactive", queue_position=0)
        await asyncio.sleep(0.3)
        yield Failed(
            code="prompt_too_long", message="the prompt is too long", field=None, retryable=False
        )


@pytest.mark.parametrize(("n_words", "status"), [(20_000, 400), (2, 200)])
def test_the_status_waits_for_the_refusal_of_a_long_prompt(n_words: int, status: int) -> None:
    said = post(
        SlowToRefuse(),
        "/v1/chat/completions",
        {
            "model": "scripted",
            "stream": True,
            "messages": [{"role": "user", "content": "word " * n_words}],
        },
        HttpSettings(settle_s=0.01),
    )

    assert said.status_code == status
    assert "too long" in said.text, "a stream that has begun says so in its last event"


def test_the_longest_prompt_keeps_a_client_waiting_for_seconds_only() -> None:
    assert refused_within_s(0.25, 10**9) == 0.25 + MOST_TOKENIZING_S
