"""The `ollama` package against a real gateway on nano."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import ollama
import pytest
from ollama import Client

from tests.gateway.gateways import LiveGateway, live_gateway

HELLO: list[dict[str, str]] = [{"role": "user", "content": "Hello there"}]
GREEDY: dict[str, Any] = {"temperature": 0.0, "num_predict": 8}


@pytest.fixture
def client(gateway: LiveGateway) -> Iterator[Client]:
    with Client(host=gateway.address) as one:
        yield one


def test_a_chat_streams_lines_and_the_last_one_has_the_counts(client: Client) -> None:
    *pieces, last = client.chat("nano", messages=HELLO, options=GREEDY, stream=True)

    assert not any(piece.done for piece in pieces)
    assert "".join(piece.message.content or "" for piece in pieces).strip()
    assert last.done
    assert last.done_reason == "length"
    assert last.eval_count == 8
    assert last.prompt_eval_count
    assert last.total_duration


def test_the_answer_sent_at_once_is_what_the_stream_adds_up_to(client: Client) -> None:
    streamed = client.chat("nano:latest", messages=HELLO, options=GREEDY, stream=True)
    text = "".join(piece.message.content or "" for piece in streamed)

    whole = client.chat("nano:latest", messages=HELLO, options=GREEDY)

    assert whole.message.content == text
    assert whole.model == "nano:latest"


def test_options_that_shape_a_runner_do_not_load_the_model_again(
    client: Client, gateway: LiveGateway
) -> None:
    before = {engine.pid for engine in gateway.daemon.engines()}

    for num_ctx in (512, 4096):
        client.chat("nano", messages=HELLO, options={**GREEDY, "num_ctx": num_ctx}, keep_alive="5m")

    assert {engine.pid for engine in gateway.daemon.engines()} == before


def test_a_prompt_is_answered_as_a_turn_and_raw_as_text(client: Client) -> None:
    spoken = client.generate("nano", "Once upon a time", options=GREEDY)
    raw = client.generate("nano", "Once upon a time", raw=True, options=GREEDY)

    assert spoken.response
    assert raw.response
    assert (spoken.prompt_eval_count or 0) > (raw.prompt_eval_count or 0)


def test_logprobs_come_with_texts_and_alternatives(client: Client) -> None:
    answer = client.chat("nano", messages=HELLO, options=GREEDY, logprobs=True, top_logprobs=2)

    assert answer.logprobs is not None
    assert len(answer.logprobs) == 8
    assert answer.logprobs[0].logprob <= 0
    assert len(answer.logprobs[0].top_logprobs or ()) == 2


def test_a_format_is_followed(client: Client) -> None:
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"],
        "additionalProperties": False,
    }

    answer = client.chat("nano", messages=HELLO, format=schema, options={"num_predict": 60})

    assert isinstance(json.loads(answer.message.content or "")["yes"], bool)


def test_an_empty_request_has_the_model_loaded(client: Client) -> None:
    assert client.generate("nano").done_reason == "load"


def test_lists_show_what_is_loaded(client: Client) -> None:
    (listed,) = client.list().models
    (running,) = client.ps().models
    shown = client.show("nano")

    assert listed.model == running.model == "nano:latest"
    assert listed.size
    assert running.context_length
    assert shown.details is not None
    assert shown.details.format == "gguf"
    assert "completion" in (shown.capabilities or ())


def test_texts_become_vectors_of_length_one_and_by_the_older_way_as_they_are(
    client: Client,
) -> None:
    found = client.embed("nano", ["One, two", "three"])
    short = client.embed("nano:latest", "One, two", dimensions=16)
    older = client.embeddings("nano", "One, two")

    assert [len(one) for one in found.embeddings] == [256, 256]
    assert np.linalg.norm(found.embeddings, axis=1) == pytest.approx([1, 1], abs=1e-4)
    assert found.prompt_eval_count
    assert [len(one) for one in short.embeddings] == [16]
    scaled = np.array(older.embedding) / np.linalg.norm(older.embedding)
    assert scaled == pytest.approx(np.array(found.embeddings[0]), abs=1e-2)


def test_a_text_that_is_too_long_is_cut_unless_that_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    text = "word " * 600

    # A small context: nothing here is about the time that a long text takes.
    folder = tmp_path_factory.mktemp("small")
    with live_gateway(folder, "--ctx-size", "256") as small, Client(host=small.address) as client:
        assert client.embed("nano", text).prompt_eval_count == 256
        with pytest.raises(ollama.ResponseError, match="input 0 has") as refusal:
            client.embed("nano", text, truncate=False)
    assert refusal.value.status_code == 400


REFUSED: dict[str, tuple[Callable[[Client], Any], int, str]] = {
    "push": (lambda client: client.push("nano"), 501, "none is given away"),
    "delete what ships": (lambda client: client.delete("nano"), 403, "it ships with umad"),
    "delete what is not here": (lambda client: client.delete("nono"), 404, "near are nano"),
    "copy what is not here": (lambda client: client.copy("nono", "other"), 404, "near are nano"),
    "copy onto a model": (lambda client: client.copy("nano", "nano"), 400, "a model already"),
    "a template": (
        lambda client: client.create("small", from_="nano", template="{{ .Prompt }}"),
        501,
        "template cannot be kept",
    ),
    "a loader's option": (
        lambda client: client.create("small", from_="nano", parameters={"num_ctx": 4096}),
        501,
        "parameters.num_ctx cannot be kept",
    ),
    "a sampling that is none": (
        lambda client: client.create("small", from_="nano", parameters={"top_p": 7.5}),
        400,
        "top_p",
    ),
    "from nothing": (lambda client: client.create("small"), 400, "from is missing"),
    "from what is not here": (
        lambda client: client.create("small", from_="nono"),
        404,
        "near are nano",
    ),
    "a smaller copy with a prompt": (
        lambda client: client.create("small", from_="nano", quantize="q4_K_M", system="Hi"),
        501,
        "system belongs to a preset",
    ),
    "a type that is none": (
        lambda client: client.create("small", from_="nano", quantize="int4"),
        400,
        "quantize is one of auto",
    ),
}


@pytest.mark.parametrize("meant", REFUSED)
def test_what_cannot_be_done_with_models_says_why(client: Client, meant: str) -> None:
    ask, status, says = REFUSED[meant]

    with pytest.raises(ollama.ResponseError) as refusal:
        ask(client)

    assert refusal.value.status_code == status, refusal.value.error
    assert says in refusal.value.error


def test_a_model_has_a_second_name_a_preset_is_made_of_it_and_both_are_deleted(
    client: Client,
) -> None:
    client.copy("nano", "other")
    made = client.create(
        "brief", from_="nano", system="Be brief.", parameters={"temperature": 0.2, "stop": ["x"]}
    )

    assert made.status == "success"
    client.delete("brief:latest")
    client.delete("other")
    for name in ("brief", "other"):
        with pytest.raises(ollama.ResponseError, match="no model is called"):
            client.delete(name)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("wrong", "status", "says"),
    [
        ({"model": "nono"}, 404, "nano"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "assistant"),
        ({"options": {"temperature": -5.0}}, 400, "temperature"),
        ({"messages": [{"role": "user", "content": "x " * 9000}]}, 400, ""),
    ],
)
def test_what_is_wrong_is_said_as_ollama_says_it(
    client: Client, wrong: dict[str, Any], status: int, says: str, stream: bool
) -> None:
    asked: dict[str, Any] = {"model": "nano", "messages": HELLO, "stream": stream, **wrong}

    with pytest.raises(ollama.ResponseError) as refusal:
        list(client.chat(**asked))

    assert refusal.value.status_code == status
    assert says in refusal.value.error


def test_a_gap_is_filled_where_the_model_says_that_it_can(client: Client) -> None:
    assert "insert" in (client.show("nano").capabilities or [])

    before, after = "def add(a, b):\n    return ", "\n\nprint(add(1, 2))"
    filled = client.generate("nano", before, suffix=after, options={"num_predict": 8, "seed": 1})

    assert filled.done
    assert filled.prompt_eval_count is not None
    plain = client.generate("nano", before, raw=True, options={"num_predict": 8, "seed": 1})
    assert plain.prompt_eval_count is not None
    assert filled.prompt_eval_count > plain.prompt_eval_count, "the suffix is in the prompt"


def test_a_conversation_goes_on_from_its_context(client: Client) -> None:
    options = {"num_predict": 4, "temperature": 0}
    first = client.generate("nano", "My name is Ann.", system="Be brief.", options=options)
    assert first.context

    second = client.generate("nano", "What is my name?", context=first.context, options=options)

    assert second.prompt_eval_count is not None
    assert second.prompt_eval_count > len(first.context)
    assert list(second.context or [])[: len(first.context)] == list(first.context)
    chunks = list(client.generate("nano", "Hi", stream=True, options=options))
    assert chunks[-1].context
    assert not any(one.context for one in chunks[:-1])


def test_a_raw_prompt_has_no_context(client: Client) -> None:
    assert not client.generate("nano", "Hi", raw=True, options={"num_predict": 2}).context


@pytest.mark.parametrize(
    ("meant", "more", "status"),
    [
        ("a template of the client's own", {"template": "{{ .Prompt }}"}, 501),
        ("raw with a system prompt", {"raw": True, "system": "Be brief."}, 400),
        ("raw with a context", {"raw": True, "context": [1, 2]}, 400),
        ("a context of another model", {"context": [10**6]}, 400),
    ],
)
def test_what_a_prompt_cannot_have_is_refused(
    client: Client, meant: str, more: dict[str, object], status: int
) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        client.generate("nano", "Hi", options={"num_predict": 2}, **more)  # type: ignore[call-overload]

    assert caught.value.status_code == status
