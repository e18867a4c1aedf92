"""An answer that was cut goes on at another daemon: no token is lost, none comes twice, and the
random numbers go on where they were.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.gateways import LiveGateway, live_gateway
from tests.live import LiveDaemon, live_daemon
from umad import nano
from umad.asker import Asker
from umad.client import AsyncClient, Client
from umad.constraint import Constraint
from umad.conversation import ChatMessage, ChatOptions
from umad.errors import BadRequest, OtherModel, UmadError
from umad.request import AnswerSoFar, GenerateRequest, SamplingParams
from umad.service import Accepted, Done, GenerationEvent, Tokens

OPTIONS = ("--ctx-size", "4096", "--kv-type", "q8")
# A prompt with an answer is read in other steps than it was written in, and so in other last bits.
# Of these seeds no draw is so near to the next token that it tips over.
STORY = GenerateRequest(
    prompt="def naïve_größe(wörter):\n    ",
    sampling=SamplingParams(temperature=1.2, max_tokens=40, top_p=1.0, top_k=0, min_p=0.0, seed=11),
)
CHAT = GenerateRequest(
    messages=(ChatMessage(role="user", content="Write a function that adds two numbers."),),
    chat=ChatOptions(markup=True),
    sampling=SamplingParams(temperature=0.9, max_tokens=40, seed=11),
)
SCHEMA = replace(
    CHAT,
    constraint=Constraint(
        kind="json_schema",
        text='{"type":"object","properties":{"name":{"type":"string","maxLength":12},'
        '"size":{"type":"integer"}},"required":["name","size"]}',
    ),
)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveDaemon, LiveGateway]]:
    """Two daemons with the same model, in files of other names and times."""
    first, second = (Path(tmp_path_factory.mktemp(name)) for name in ("a", "b"))
    copy = second / "another-name.gguf"
    shutil.copy(nano.path(), copy)
    with contextlib.ExitStack() as both:
        one = both.enter_context(live_daemon(first, str(nano.path()), *OPTIONS))
        other = both.enter_context(live_gateway(second, str(copy), *OPTIONS))
        yield one, other


def asked(client: Client, request: GenerateRequest) -> tuple[Accepted, list[Tokens], Done]:
    events: list[GenerationEvent] = list(client.generate(request))
    accepted, done = events[0], events[-1]
    assert isinstance(accepted, Accepted)
    assert isinstance(done, Done)
    return accepted, [one for one in events if isinstance(one, Tokens)], done


def cut(request: GenerateRequest, accepted: Accepted, begun: list[Tokens]) -> GenerateRequest:
    """The request that continues an answer of which only these events have come."""
    sampling = replace(request.sampling, seed=accepted.seed, max_tokens=accepted.max_tokens)
    ids = tuple(token for one in begun for token in one.ids)
    return replace(
        request,
        sampling=sampling,
        resume=AnswerSoFar(tokens=ids, fingerprint=accepted.fingerprint),
    )


@pytest.mark.parametrize("request_", [STORY, CHAT, SCHEMA], ids=["text", "chat", "schema"])
def test_an_answer_cut_anywhere_ends_as_it_would_have(
    nodes: tuple[LiveDaemon, LiveGateway], request_: GenerateRequest
) -> None:
    with Client(nodes[0].socket) as first, Client(nodes[1].daemon.socket) as second:
        accepted, whole, end = asked(first, request_)
        assert len(whole) > 4
        for at in sorted({1, 2, 3, len(whole) // 2, len(whole) - 1}):
            _, rest, done = asked(second, cut(request_, accepted, whole[:at]))

            ids = [token for one in (*whole[:at], *rest) for token in one.ids]
            text = "".join(one.text for one in (*whole[:at], *rest))
            assert ids == [token for one in whole for token in one.ids]
            assert text == "".join(one.text for one in whole)
            assert done.finish_reason == end.finish_reason
            assert done.usage.completion_tokens == end.usage.completion_tokens
            assert done.usage.prompt_tokens == end.usage.prompt_tokens


def test_a_stop_string_that_was_half_written_still_stops(
    nodes: tuple[LiveDaemon, LiveGateway],
) -> None:
    with Client(nodes[0].socket) as first, Client(nodes[1].daemon.socket) as second:
        free, tokens, _ = asked(first, replace(STORY, prompt="def add(a, b):\n    return"))
        text = "".join(one.text for one in tokens)
        stop = text[len(text) // 2 : len(text) // 2 + 6]
        seeded = replace(STORY.sampling, seed=free.seed, stop=(stop,))
        request = replace(STORY, prompt="def add(a, b):\n    return", sampling=seeded)
        accepted, whole, end = asked(first, request)
        assert end.stop == stop

        for at in range(1, len(whole)):
            _, rest, done = asked(second, cut(request, accepted, whole[:at]))
            assert "".join(one.text for one in (*whole[:at], *rest)) == "".join(
                one.text for one in whole
            )
            assert done.stop == stop


def test_an_answer_whose_last_token_had_come_only_ends(
    nodes: tuple[LiveDaemon, LiveGateway],
) -> None:
    with Client(nodes[0].socket) as first, Client(nodes[1].daemon.socket) as second:
        accepted, whole, end = asked(first, STORY)

        _, rest, done = asked(second, cut(STORY, accepted, whole))

    assert [token for one in rest for token in one.ids] == []
    assert (done.finish_reason, done.usage) == (
        end.finish_reason,
        replace(end.usage, cached_tokens=done.usage.cached_tokens),
    )


def test_an_engine_that_dies_in_a_resumed_answer_loses_nothing(
    short_tmp_path: Path, nodes: tuple[LiveDaemon, LiveGateway]
) -> None:
    request = replace(
        STORY, sampling=replace(STORY.sampling, seed=7, max_tokens=400, ignore_eos=True)
    )
    with Client(nodes[0].socket) as first:
        accepted, whole, _ = asked(first, request)

    async def killed(daemon: LiveDaemon) -> tuple[list[Tokens], Done]:
        rest: list[Tokens] = []
        async with AsyncClient(daemon.socket) as client:
            async for event in client.generate(cut(request, accepted, whole[:20])):
                if isinstance(event, Tokens):
                    rest.append(event)
                    if len(rest) == 5:
                        for engine in daemon.engines():
                            engine.kill()
                elif isinstance(event, Done):
                    return rest, event
        raise AssertionError("no end")

    with live_daemon(short_tmp_path, str(nano.path()), *OPTIONS) as daemon:
        rest, done = asyncio.run(killed(daemon))
        assert daemon.restarts() == 1

    ids = [token for one in (*whole[:20], *rest) for token in one.ids]
    assert ids == [token for one in whole for token in one.ids]
    assert done.usage.completion_tokens == 400


def test_another_model_does_not_go_on_with_an_answer(
    nodes: tuple[LiveDaemon, LiveGateway],
) -> None:
    with Client(nodes[0].socket) as first, Client(nodes[1].daemon.socket) as second:
        accepted, whole, _ = asked(first, STORY)
        request = cut(STORY, replace(accepted, fingerprint="0" * 32), whole[:3])

        with pytest.raises(OtherModel) as refused:
            asked(second, request)

    assert refused.value.field == "resume.fingerprint"
    assert not refused.value.retryable


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"tokens": ()}, "resume.tokens"),
        ({"tokens": (10**6,)}, "resume.tokens"),
        ({"tokens": (5,) * 41}, "resume.tokens"),
        ({"fingerprint": ""}, "resume.fingerprint"),
    ],
)
def test_what_cannot_be_an_answers_beginning_is_refused(
    nodes: tuple[LiveDaemon, LiveGateway], change: dict[str, object], field: str
) -> None:
    with Client(nodes[0].socket) as client:
        accepted, whole, _ = asked(client, STORY)
        request = cut(STORY, accepted, whole[:3])
        assert request.resume is not None
        resume = replace(request.resume, **change)  # type: ignore[arg-type]

        with pytest.raises(BadRequest) as refused:
            asked(client, replace(request, resume=resume))

        assert refused.value.field == field
        assert asked(client, STORY)[2].usage.completion_tokens > 0


def test_tokens_that_the_grammar_forbids_are_refused_and_nobody_else_notices(
    nodes: tuple[LiveDaemon, LiveGateway],
) -> None:
    with Client(nodes[0].socket) as client:
        accepted, _, _ = asked(client, SCHEMA)
        (word, *_) = client.tokenize("nothing like an object")
        resume = AnswerSoFar(tokens=(word,), fingerprint=accepted.fingerprint)
        sampling = replace(SCHEMA.sampling, seed=accepted.seed)

        with pytest.raises(UmadError) as refused:
            asked(client, replace(SCHEMA, sampling=sampling, resume=resume))

        assert isinstance(refused.value, BadRequest)
        assert asked(client, SCHEMA)[2].finish_reason in {"stop", "length"}
    assert nodes[0].metrics()["restarts"] == 0


def test_http_resumes_too(nodes: tuple[LiveDaemon, LiveGateway]) -> None:
    with Client(nodes[0].socket) as first, nodes[1].http() as http:
        accepted, whole, _ = asked(first, STORY)
        begun = whole[:7]
        body: dict[str, Any] = {
            "prompt": STORY.prompt,
            "temperature": 1.2,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "seed": accepted.seed,
            "max_tokens": accepted.max_tokens,
            "stream": False,
            "resume": {
                "tokens": [token for one in begun for token in one.ids],
                "fingerprint": accepted.fingerprint,
            },
        }
        answer = http.post("/generate", json=body)
        refused = http.post(
            "/generate", json={**body, "resume": {**body["resume"], "fingerprint": "x"}}
        )
        lacking = http.post("/generate", json={**body, "seed": None})

    assert answer.status_code == httpx.codes.OK, answer.text
    (said,) = answer.json()["completions"]
    assert "".join(one.text for one in begun) + said["text"] == "".join(one.text for one in whole)
    assert answer.json()["fingerprint"] == accepted.fingerprint
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "other_model")
    assert (lacking.status_code, lacking.json()["error"]["param"]) == (400, "seed")


def test_a_resume_sees_nothing_that_another_owner_has_asked(
    nodes: tuple[LiveDaemon, LiveGateway],
) -> None:
    async def run() -> tuple[int, int]:
        async with AsyncClient(nodes[0].socket) as client:
            long = replace(STORY, prompt="import os\n" * 60, session="talk")

            async def cached(owner: str) -> int:
                theirs = client.on_behalf(Asker(owner=owner, role="user"))
                request = long
                accepted: Accepted | None = None
                begun: list[Tokens] = []
                async for event in theirs.generate(long):
                    if isinstance(event, Accepted):
                        accepted = event
                    elif isinstance(event, Tokens):
                        begun.append(event)
                assert accepted is not None
                request = cut(long, accepted, begun[:4])
                other = client.on_behalf(Asker(owner="key:mallory", role="user"))
                asker = other if owner == "key:alice" else theirs
                async for event in asker.generate(request):
                    if isinstance(event, Done):
                        return event.usage.cached_tokens
                raise AssertionError("no end")

            return await cached("key:alice"), await cached("key:bob")

    stolen, own = asyncio.run(run())

    assert stolen == 0, "what alice had computed served mallory"
    assert own > 0
