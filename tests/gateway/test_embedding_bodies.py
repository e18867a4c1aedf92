"""Texts that are too long, tasks, and the forms of rankings: what bodies of every dialect mean."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.answering_service import Door, open_door

OPENAI, OLLAMA, LLAMA = "/v1/embeddings", "/api/embed", "/embedding"
OLD_OLLAMA = "/api/embeddings"
LEAST: dict[str, dict[str, Any]] = {
    OPENAI: {"input": "a"},
    OLLAMA: {"model": "scripted", "input": "a"},
    OLD_OLLAMA: {"model": "scripted", "prompt": "a"},
    LLAMA: {"content": "a"},
}
RANK = {"query": "q", "documents": ["a", "b"]}


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with open_door() as one:
        yield one


def answered(door: Door, path: str, **more: Any) -> Any:
    answer = door.post(path, {**LEAST.get(path, RANK), **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("path", LEAST)
@pytest.mark.parametrize(
    ("written", "cuts"),
    [
        ({"truncate": True}, True),
        ({"truncate": "true"}, True),
        ({"truncate": "END"}, True),
        ({"truncate": "NONE"}, False),
        ({"truncation": 1}, True),
        ({"truncate": False}, False),
    ],
)
def test_a_text_that_is_too_long_is_cut_or_refused_as_the_body_says(
    door: Door, path: str, written: dict[str, Any], cuts: bool
) -> None:
    answered(door, path, **written)
    assert door.service.embedded[-1].truncate is cuts


@pytest.mark.parametrize("written", [{"truncate": True}, {"truncation": True}])
def test_pairs_of_a_ranking_likewise(door: Door, written: dict[str, Any]) -> None:
    answered(door, "/v1/rerank", **written)
    assert door.service.ranked[-1].truncate

    answered(door, "/v1/rerank")
    assert not door.service.ranked[-1].truncate


def test_what_a_body_does_not_say_is_as_its_dialect_has_it(door: Door) -> None:
    for path, cuts in ((OPENAI, False), (OLLAMA, True), (OLD_OLLAMA, True), (LLAMA, False)):
        answered(door, path)
        assert door.service.embedded[-1].truncate is cuts
        assert door.service.embedded[-1].task is None


@pytest.mark.parametrize("path", [*LEAST, "/rerank"])
@pytest.mark.parametrize("value", ["START", "left", "some", 7])
def test_the_beginning_of_a_text_is_never_cut_off(door: Door, path: str, value: Any) -> None:
    body = {**LEAST.get(path, RANK), "truncate": value}

    assert door.refusal(path, body) == "truncate"


@pytest.mark.parametrize("path", LEAST)
@pytest.mark.parametrize("field", ["task", "input_type", "task_type", "prompt_name"])
def test_a_task_may_be_written_as_other_interfaces_call_it(
    door: Door, path: str, field: str
) -> None:
    answered(door, path, **{field: "search_query"})

    assert door.service.embedded[-1].task == "search_query"


def test_an_error_names_the_field_as_the_body_wrote_it(door: Door) -> None:
    assert door.refusal(OPENAI, {"input": "a", "input_type": 5}) == "input_type"
    assert door.refusal("/rerank", {"query": "q", "texts": ["a", {}]}) == "texts.1"


def test_vectors_keep_their_length_where_the_body_says_so(door: Door) -> None:
    answered(door, OPENAI, normalized=False)
    assert not door.service.embedded[-1].normalize

    answered(door, OPENAI)
    assert door.service.embedded[-1].normalize


def test_texts_are_ranked_in_the_form_of_text_embeddings_inference(door: Door) -> None:
    body = {"query": "q", "texts": ["a", "b"]}

    plain = door.post("/rerank", body).json()
    whole = door.post("/rerank", {**body, "return_text": True, "top_n": 2}).json()

    assert door.service.ranked[-1].documents == ("a", "b")
    assert plain == [{"index": 0, "score": 0.5}, {"index": 1, "score": 0.5}]
    assert whole == [
        {"index": 0, "score": 0.5, "text": "a"},
        {"index": 1, "score": 0.5, "text": "b"},
    ]
