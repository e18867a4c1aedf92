"""`client.embeddings` of the openai package against a real gateway on nano."""

import numpy as np
import openai
import pytest
from openai import OpenAI

TEXTS = ["def mean(values):", "import os"]


def test_vectors_come_in_order_and_in_numbers_as_in_base64(client: OpenAI) -> None:
    # The package asks for base64 unless told otherwise, and unpacks it.
    packed = client.embeddings.create(model="nano", input=TEXTS)
    numbers = client.embeddings.create(model="nano", input=TEXTS, encoding_format="float")

    vectors = np.array([one.embedding for one in packed.data])
    assert [one.index for one in packed.data] == [0, 1]
    assert packed.model == "nano"
    assert packed.usage.total_tokens == packed.usage.prompt_tokens > 2
    assert vectors.shape == (2, 256)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-4)
    assert np.allclose(vectors, [one.embedding for one in numbers.data], atol=2e-3)


def test_a_text_its_token_ids_and_lists_of_them_mean_the_same(client: OpenAI) -> None:
    ids = [300, 301, 302]

    one = client.embeddings.create(model="nano", input=ids).data
    several = client.embeddings.create(model="nano", input=[ids, ids]).data
    text = client.embeddings.create(model="gpt-4o", input=TEXTS[0]).data

    assert len(one) == len(text) == 1
    assert len(several) == 2
    assert np.allclose(one[0].embedding, several[1].embedding, atol=2e-3)


def test_dimensions_keep_the_beginning_of_a_vector(client: OpenAI) -> None:
    whole = client.embeddings.create(model="nano", input=TEXTS[0]).data[0].embedding

    short = client.embeddings.create(model="nano", input=TEXTS[0], dimensions=32).data[0].embedding

    head = np.array(whole[:32])
    assert np.allclose(short, head / np.linalg.norm(head), atol=2e-3)


@pytest.mark.parametrize(
    ("wrong", "field", "says"),
    [
        ({"input": []}, "input", "input has 0 texts"),
        ({"input": ["a", ""]}, "input", "input 1 is empty"),
        ({"input": ["a", 5]}, "input.1", "a text or a list of token ids"),
        ({"input": ["a", "word " * 6000]}, "input", "input 1 has"),
        ({"dimensions": 100_000}, "dimensions", "dimensions is 100000"),
        ({"dimensions": 257}, "dimensions", "vectors have 256"),
    ],
)
def test_what_cannot_be_embedded_is_a_400_that_names_it(
    client: OpenAI, wrong: dict[str, object], field: str, says: str
) -> None:
    body: dict[str, object] = {"input": "text", **wrong}
    with pytest.raises(openai.BadRequestError, match=says) as refusal:
        client.post("/embeddings", body={"model": "nano", **body}, cast_to=object)

    assert refusal.value.param == field


def test_rerank_of_a_model_that_cannot_is_an_error_not_a_made_up_score(client: OpenAI) -> None:
    body = {"model": "nano", "query": "a", "documents": ["b", "c"]}

    with pytest.raises(openai.APIStatusError, match="no reranker") as refusal:
        client.post("/rerank", body=body, cast_to=object)

    assert refusal.value.status_code == 501
