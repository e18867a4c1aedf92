"""A gateway before an encoder and a reranker: what their clients get."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gguf import PoolingType

from tests.encoders import CONTEXT, WIDTH, write_encoder
from tests.gateway.gateways import LiveGateway, live_gateway


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    folder: Path = tmp_path_factory.mktemp("encoders")
    encoder = write_encoder(folder / "encoder.gguf")
    ranker = write_encoder(folder / "ranker.gguf", pooling=PoolingType.RANK)
    with live_gateway(folder, str(encoder), str(ranker)) as one:
        yield one


def ask(gateway: LiveGateway, path: str, **body: Any) -> tuple[int, Any]:
    with gateway.http() as http:
        answer = http.post(path, json=body)
    return answer.status_code, answer.json()


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
def test_documents_come_back_best_first_as_jina_and_llama_server_send_them(
    encoders: LiveGateway, path: str
) -> None:
    documents = ["a cat", {"text": "blue is a colour"}, "dogs bark"]

    status, answer = ask(
        encoders,
        path,
        model="ranker",
        query="what is blue?",
        documents=documents,
        top_n=2,
        return_documents=True,
    )

    assert status == 200
    scores = [one["relevance_score"] for one in answer["results"]]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
    for one in answer["results"]:
        given = documents[one["index"]]
        assert one["document"]["text"] == (given if isinstance(given, str) else given["text"])
    assert answer["model"] == "ranker"
    assert answer["usage"]["total_tokens"] > 10


def test_llama_servers_own_way_gives_a_list_of_rows(encoders: LiveGateway) -> None:
    status, answer = ask(encoders, "/embedding", model="encoder", content=["one", "two"])

    assert status == 200
    assert [one["index"] for one in answer] == [0, 1]
    assert [len(one["embedding"][0]) for one in answer] == [WIDTH, WIDTH]


def test_a_chat_with_an_encoder_is_refused_and_ollamas_clients_see_what_it_is(
    encoders: LiveGateway,
) -> None:
    turns = [{"role": "user", "content": "hello"}]

    status, answer = ask(encoders, "/v1/chat/completions", model="encoder", messages=turns)
    _, shown = ask(encoders, "/api/show", model="encoder")

    assert status == 501
    assert "encoder" in answer["error"]["message"]
    assert shown["capabilities"] == ["embedding"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "encoder", "input": ["a", "b" * 2 * CONTEXT]}),
        ("/embedding", {"model": "encoder", "content": ["a", "b" * 2 * CONTEXT]}),
        ("/api/embed", {"model": "encoder", "input": ["a", "b" * 2 * CONTEXT]}),
        ("/rerank", {"model": "ranker", "query": "a", "documents": ["a", "b" * 2 * CONTEXT]}),
    ],
)
def test_a_text_that_is_too_long_is_refused_by_its_number_or_cut(
    encoders: LiveGateway, path: str, body: dict[str, Any]
) -> None:
    refused, said = ask(encoders, path, **body, truncate=False)
    cut, _ = ask(encoders, path, **body, truncate=True)

    assert (refused, cut) == (400, 200)
    error = said["error"]
    words = error if isinstance(error, str) else error["message"]
    assert " 1 has" in words
    assert f"at most {CONTEXT}" in words


def test_texts_that_come_again_are_counted(encoders: LiveGateway) -> None:
    body = {"model": "encoder", "input": ["seen before", "seen before"]}
    ask(encoders, "/v1/embeddings", **body)
    ask(encoders, "/v1/embeddings", **body)

    with encoders.http() as http:
        card = http.get("/metrics").json()
        counts = http.get("/metrics", headers={"accept": "text/plain"}).text

    assert card["models"]["encoder"]["texts_cached"] >= 3
    assert re.search(r'umad_http_tokens_total\{kind="cached"\} [1-9]', counts), counts
    assert "umad_texts_embedded " in counts
    assert 'umad_model_texts_cached{model="encoder"}' in counts
