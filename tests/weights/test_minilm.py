"""A real embedding model through the whole of umad, beside the same model written down in numpy."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.gateway.gateways import LiveGateway, live_gateway
from tests.weights.bert import Bert
from tests.weights.minilm import CONTEXT, WIDTH, MiniLm, minilm

TEXTS = (
    "That is a happy person",
    "That is a very happy person.",
    "Today is a sunny day",
    "Le café est fermé; naïve coöperation, Ångström & Co. (1987)?",
    "北京 is the capital of 中国",
    "def mean(values):\n    return sum(values) / len(values)  # O(n)",
    "antidisestablishmentarianism " * 20,
    "x",
)


@pytest.fixture(scope="module")
def model() -> MiniLm:
    return minilm()


@pytest.fixture(scope="module")
def gateway(model: MiniLm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path_factory.mktemp("minilm"), str(model.gguf)) as one:
        yield one


def embedded(gateway: LiveGateway, texts: object, **more: object) -> NDArray[np.float32]:
    with gateway.http() as http:
        answer = http.post("/v1/embeddings", json={"input": texts, **more})
    assert answer.status_code == 200, answer.text
    return np.array([one["embedding"] for one in answer.json()["data"]], np.float32)


def test_words_become_the_tokens_of_its_own_vocabulary(model: MiniLm, gateway: LiveGateway) -> None:
    own = Bert(model)
    with gateway.http() as http:
        for text in TEXTS:
            told = http.post("/tokenize", json={"content": text}).json()["tokens"]
            assert told == own.token_ids(text)[1:-1], text


def test_vectors_are_those_of_its_own_implementation(model: MiniLm, gateway: LiveGateway) -> None:
    own = Bert(model)

    ours = embedded(gateway, list(TEXTS))

    theirs = np.array([own.vector(own.token_ids(text)) for text in TEXTS])
    likeness = (ours * theirs).sum(axis=1)
    print(f"cosine with its own implementation: at least {likeness.min():.7f}")
    assert ours.shape == (len(TEXTS), WIDTH)
    assert likeness.min() >= 0.9999


def test_token_ids_and_what_shares_a_batch_change_nothing(
    model: MiniLm, gateway: LiveGateway
) -> None:
    own = Bert(model)
    texts = [f"sentence number {at} of a small library" for at in range(60)]

    together = embedded(gateway, texts)
    by_ids = embedded(gateway, [own.token_ids(text) for text in texts[:3]])

    alone = np.array([own.vector(own.token_ids(text)) for text in texts])
    assert (together * alone).sum(axis=1).min() >= 0.9999
    assert (by_ids * alone[:3]).sum(axis=1).min() >= 0.9999


def test_a_text_longer_than_the_model_reads_is_cut_where_that_is_asked(
    model: MiniLm, gateway: LiveGateway
) -> None:
    own = Bert(model)
    text = "one two three four five six seven eight nine ten " * 80
    ids = own.token_ids(text)
    assert len(ids) > CONTEXT

    cut = embedded(gateway, text, truncate=True)

    whole = own.vector([*ids[: CONTEXT - 1], ids[-1]])
    assert float(cut[0] @ whole) >= 0.9999
    with gateway.http() as http:
        refused = http.post("/v1/embeddings", json={"input": text})
    assert refused.status_code == 400
    assert f"at most {CONTEXT}" in refused.json()["error"]["message"]
