"""With `fit`, how many tokens a client asks for is a ceiling and no promise to be kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import LiveDaemon, live_daemon
from umad.client import Client
from umad.request import GenerateRequest, SamplingParams
from umad.service import Done, Failed

CELLS = 256
MAX_TOKENS = 40


@pytest.fixture
def small(short_tmp_path: Path) -> Iterator[LiveDaemon]:
    """A daemon with little room."""
    limits = ("--ctx-size", str(CELLS), "--max-tokens", str(MAX_TOKENS))
    with live_daemon(short_tmp_path, "nano", *limits) as running:
        yield running


def ended(daemon: LiveDaemon, prompt: str, max_tokens: int | None, *, fit: bool) -> Done | Failed:
    """How a request that never ends by itself ends."""
    sampling = SamplingParams(temperature=0.0, max_tokens=max_tokens, fit=fit, ignore_eos=True)
    with Client(daemon.socket) as client:
        events = list(client.events(GenerateRequest(prompt=prompt, sampling=sampling)))
    last = events[-1]
    assert isinstance(last, Done | Failed)
    return last


def test_as_many_tokens_as_the_daemon_and_the_context_allow(small: LiveDaemon) -> None:
    allowed = ended(small, "Once upon a time", 32_000, fit=True)
    long = ended(small, "word " * (CELLS - 20), None, fit=True)

    assert isinstance(allowed, Done)
    assert (allowed.finish_reason, allowed.usage.completion_tokens) == ("length", MAX_TOKENS)
    assert isinstance(long, Done)
    # The last token is never computed, so it needs no cell.
    room = CELLS + 1 - long.usage.prompt_tokens
    assert (long.finish_reason, long.usage.completion_tokens) == ("length", room)
    assert room < MAX_TOKENS


def test_without_it_too_many_are_refused(small: LiveDaemon) -> None:
    unlimited = ended(small, "Once upon a time", 32_000, fit=False)
    endless = ended(small, "word " * (CELLS - 20), MAX_TOKENS, fit=False)
    too_long = ended(small, "word " * CELLS, None, fit=True)

    assert isinstance(unlimited, Failed)
    assert unlimited.field == "max_tokens"
    assert isinstance(endless, Failed)
    assert isinstance(too_long, Failed)
    assert endless.code == too_long.code == "prompt_too_long"


def test_a_number_that_nobody_named_gives_way_to_a_long_prompt(small: LiveDaemon) -> None:
    unnamed = ended(small, "word " * (CELLS - 20), None, fit=False)

    assert isinstance(unnamed, Done)
    assert unnamed.usage.completion_tokens == CELLS + 1 - unnamed.usage.prompt_tokens < MAX_TOKENS
