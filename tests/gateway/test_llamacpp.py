"""llama.cpp's own endpoints on a real gateway, and the prompt of an infill."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.gateways import LiveGateway
from umad.errors import Unsupported
from umad.infill.prompt import WINDOW_TOKENS, FimTokens, Gap, prompt_ids

MARKS = FimTokens(prefix=1001, suffix=1002, middle=1003, repo=1004, separator=1005)
ONE_FILE = FimTokens(prefix=1001, suffix=1002, middle=1003, bos=1000)


async def _letters(text: str) -> tuple[int, ...]:
    return tuple(ord(letter) for letter in text)


def ids_of(gap: Gap, marks: FimTokens, *, cells: int = 4096, n_predict: int = 16) -> list[Any]:
    """The prompt, marks as their numbers and everything else as letters."""
    ids = asyncio.run(prompt_ids(gap, marks, _letters, cells=cells, n_predict=n_predict))
    return [one if one >= 1000 else chr(one) for one in ids]


def test_what_is_typed_stands_between_the_prefix_and_the_suffix() -> None:
    ids = ids_of(Gap(before="ab", typed="c", after="d"), ONE_FILE)

    assert ids == [1000, 1001, "a", "b", "c", 1002, "d", 1003]


def test_other_files_come_first_each_behind_its_name() -> None:
    text = "".join(map(str, ids_of(Gap(before="a", after="", files=[("f.py", "xy")]), MARKS)))

    assert text == "1004project\n1005f.py\nxy1005this file\n1001a10021003"


@given(st.integers(0, 9000), st.integers(0, 9000), st.integers(0, 9000), st.integers(64, 8192))
def test_a_prompt_and_its_answer_always_fit_the_context(
    before: int, after: int, other: int, cells: int
) -> None:
    gap = Gap(before="a" * before, after="b" * after, files=[("f", "c" * other)])

    ids = ids_of(gap, MARKS, cells=cells, n_predict=16)

    assert len(ids) + 16 <= cells
    assert ids.count("a") <= 3 * WINDOW_TOKENS // 4
    assert ids[-1] == 1003


def test_a_model_without_marks_cannot_fill_in() -> None:
    with pytest.raises(Unsupported, match="middle"):
        FimTokens.of_facts({"name": "nano", "fim_tokens": {"prefix": 1, "suffix": 2}})


def test_tokens_and_text_turn_into_each_other(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        tokens = http.post("/tokenize", json={"content": "Hello there"}).json()["tokens"]
        text = http.post("/detokenize", json={"tokens": tokens}).json()["content"]
        pieces = http.post("/tokenize", json={"content": "Hello there", "with_pieces": True})

    assert text == "Hello there"
    assert "".join(one["piece"] for one in pieces.json()["tokens"]) == "Hello there"
    assert [one["id"] for one in pieces.json()["tokens"]] == tokens


@pytest.mark.parametrize("stream", [False, True])
def test_a_gap_is_filled_in_with_the_models_own_marks(gateway: LiveGateway, stream: bool) -> None:
    body = {
        "input_prefix": "Once upon a time there was a little",
        "input_suffix": " who lived in the woods.",
        "input_extra": [{"filename": "notes.txt", "text": "A girl and her dog."}],
        "n_predict": 6,
        "temperature": 0.0,
        "stream": stream,
    }

    with gateway.http() as http:
        answer = http.post("/infill", json=body)

    lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    objects = [json.loads(line[6:]) for line in lines] if stream else [answer.json()]
    last = objects[-1]
    assert [one["stop"] for one in objects] == [False] * (len(objects) - 1) + [True]
    assert "".join(one["content"] for one in objects)
    assert 0 < last["tokens_predicted"] <= 6
    assert last["tokens_evaluated"] > 10
    assert last["stop_type"] in ("limit", "eos")


def test_a_wrong_body_is_refused_with_its_field(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        answer = http.post("/detokenize", json={"tokens": [-1]})

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == 400
    assert answer.json()["error"]["param"] == "tokens.0"
