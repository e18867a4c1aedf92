"""llama.cpp's /completion on a real gateway: each row is what a client of llama-server sends."""

import json
from itertools import accumulate
from typing import Any

import pytest

from tests.gateway.gateways import LiveGateway

STORY = "Once upon a time there was a little"


def asked(gateway: LiveGateway, path: str = "/completion", **body: Any) -> Any:
    with gateway.http() as http:
        answer = http.post(path, json={"temperature": 0, "n_predict": 4, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids_of(gateway: LiveGateway, text: str) -> list[int]:
    with gateway.http() as http:
        tokens: list[int] = http.post("/tokenize", json={"content": text}).json()["tokens"]
    return tokens


@pytest.mark.parametrize("path", ["/completion", "/completions"])
def test_a_text_is_continued_and_told_of_in_llama_servers_words(
    gateway: LiveGateway, path: str
) -> None:
    said = asked(gateway, path, prompt=STORY, return_tokens=True)

    assert said["content"]
    assert len(said["tokens"]) == said["tokens_predicted"] == 4
    assert (said["stop"], said["stop_type"], said["truncated"]) == (True, "limit", False)
    assert said["prompt"] == STORY
    assert said["generation_settings"]["n_predict"] == 4
    assert said["timings"]["predicted_n"] == 4


# What a client writes, and a way to say the same that must bring the same text.
SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tokens instead of a text": ({"prompt": "IDS"}, {"prompt": STORY}),
    "tokens and texts in one prompt": ({"prompt": ["IDS of a part"]}, {"prompt": STORY}),
    "an object with prompt_string": (
        {"prompt": {"prompt_string": STORY, "multimodal_data": []}},
        {"prompt": STORY},
    ),
    "max_tokens as newer clients call it": ({"max_tokens": 2, "n_predict": None}, {"n_predict": 2}),
    "the best token by a temperature below zero": ({"temperature": -1}, {"temperature": 0}),
    "samplers that name temperature alone": (
        {"temperature": 0.7, "seed": 1, "samplers": ["temperature"]},
        {"temperature": 0.7, "seed": 1, "top_k": 0, "top_p": 1, "min_p": 0},
    ),
    "samplers under their older names": (
        {"temperature": 0.7, "seed": 1, "samplers": ["top_k", "typical_p", "top_p", "temp"]},
        {"temperature": 0.7, "seed": 1, "min_p": 0},
    ),
    "samplers in one word of letters": (
        {"temperature": 0.7, "seed": 1, "samplers": "edkypmxt"},
        {"temperature": 0.7, "seed": 1},
    ),
    "samplers in other spellings": (
        {"temperature": 0.7, "seed": 1, "samplers": ["Top-K", "typ-p", "nucleus", "Temp"]},
        {"temperature": 0.7, "seed": 1, "min_p": 0},
    ),
    "the infill sampler, which takes the likeliest token": (
        {"temperature": None, "samplers": ["top_k", "top_p", "infill"]},
        {"temperature": 0},
    ),
    "llama.cpp's own samplers, which are off": (
        {"samplers": ["dry", "top_k", "xtc", "temperature"]},
        {"top_p": 1, "min_p": 0},
    ),
    "fields of slots and caches": (
        {"id_slot": 3, "cache_prompt": False, "n_keep": -1, "n_cache_reuse": 256},
        {},
    ),
    "rare samplers switched off": (
        {"mirostat": 0, "dry_multiplier": 0.0, "xtc_probability": 0, "dynatemp_range": 0.0},
        {},
    ),
    "every optional field null": (
        dict.fromkeys(("stop", "grammar", "json_schema", "logit_bias", "samplers", "n_probs")),
        {},
    ),
    "an adapter with no weight": ({"lora": [{"id": 0, "scale": 0}]}, {}),
    "an empty stop string": ({"stop": [""]}, {}),
}


@pytest.mark.parametrize("meant", SAME)
def test_what_means_the_same_brings_the_same_text(gateway: LiveGateway, meant: str) -> None:
    written, plain = ({"prompt": STORY, **one} for one in SAME[meant])
    ids = ids_of(gateway, STORY)
    if written["prompt"] == "IDS":
        written["prompt"] = ids
    elif written["prompt"] == ["IDS of a part"]:
        written["prompt"] = [*ids[:2], STORY.removeprefix(text_of(gateway, ids[:2]))]
    # The first reads its prompt, the others find it read: another sum of the same numbers.
    asked(gateway, prompt=STORY)

    assert asked(gateway, **written)["content"] == asked(gateway, **plain)["content"]


def text_of(gateway: LiveGateway, ids: list[int]) -> str:
    with gateway.http() as http:
        return str(http.post("/detokenize", json={"tokens": ids}).json()["content"])


SEVERAL: dict[str, tuple[dict[str, Any], int]] = {
    "several texts": ({"prompt": ["one", "two"]}, 2),
    "one text in an array": ({"prompt": ["one"]}, 1),
    "texts, tokens and objects": ({"prompt": ["one", [40, 41], {"prompt_string": "x"}]}, 3),
    "several completions of one prompt": ({"prompt": "one", "n_cmpl": 3}, 3),
    "several of each": ({"prompt": ["one", "two"], "n": 2}, 4),
}


@pytest.mark.parametrize("meant", SEVERAL)
@pytest.mark.parametrize("stream", [False, True])
def test_several_answers_come_as_an_array_each_with_its_index(
    gateway: LiveGateway, meant: str, stream: bool
) -> None:
    body, n = SEVERAL[meant]
    if not stream:
        assert [one["index"] for one in asked(gateway, **body)] == list(range(n))
        return
    assert sorted(one["index"] for one in streamed(gateway, **body) if one["stop"]) == list(
        range(n)
    )


def streamed(gateway: LiveGateway, **body: Any) -> list[dict[str, Any]]:
    with gateway.http() as http:
        answer = http.post(
            "/completion", json={"temperature": 0, "n_predict": 4, "stream": True, **body}
        )
    assert answer.status_code == 200, answer.text
    return [
        json.loads(line.removeprefix("data: "))
        for line in answer.text.splitlines()
        if line.startswith("data: ")
    ]


def test_a_stream_has_the_text_of_the_answer_in_one_piece(gateway: LiveGateway) -> None:
    whole = asked(gateway, prompt=STORY)
    *pieces, last = streamed(gateway, prompt=STORY)

    assert "".join(one["content"] for one in pieces) == whole["content"]
    assert (last["content"], last["stop"], last["tokens_predicted"]) == ("", True, 4)


def test_no_tokens_are_made_where_none_are_asked_for(gateway: LiveGateway) -> None:
    said = asked(gateway, prompt=STORY, n_predict=0, return_tokens=True)

    assert (said["content"], said["tokens"], said["tokens_predicted"]) == ("", [], 0)
    assert said["tokens_evaluated"] > 0
    (last,) = streamed(gateway, prompt=STORY, n_predict=0)
    assert last["stop"]


@pytest.mark.parametrize("stream", [False, True])
def test_probabilities_are_those_of_the_tokens_made(gateway: LiveGateway, stream: bool) -> None:
    if stream:
        pieces = streamed(gateway, prompt=STORY, n_probs=3)
        rows = [row for one in pieces for row in one.get("completion_probabilities", [])]
    else:
        rows = asked(gateway, prompt=STORY, n_probs=3)["completion_probabilities"]

    assert len(rows) == 4
    for row in rows:
        assert len(row["top_logprobs"]) == 3
        assert row["top_logprobs"][0]["id"] == row["id"], "a temperature of 0 takes the best"
        assert bytes(row["bytes"]).decode() == row["token"]


BIASES: dict[str, Any] = {
    "pairs of an id": [["ID", False]],
    "pairs of an id and a number": [["ID", -1e6]],
    "a map of an id": {"ID": -1e6},
    "pairs of a text": [["TEXT", False]],
    "a map of a text": {"TEXT": False},
}


@pytest.mark.parametrize("meant", BIASES)
def test_a_token_is_forbidden_however_the_bias_is_written(gateway: LiveGateway, meant: str) -> None:
    best = asked(gateway, prompt=STORY, return_tokens=True, n_predict=1)
    token, text = best["tokens"][0], best["content"]

    def put(value: Any) -> Any:
        return token if value == "ID" else text if value == "TEXT" else value

    given = BIASES[meant]
    if isinstance(given, dict):
        bias: Any = {str(put(name)): value for name, value in given.items()}
    else:
        bias = [[put(one), value] for one, value in given]
    said = asked(gateway, prompt=STORY, return_tokens=True, n_predict=1, logit_bias=bias)

    assert said["tokens"] != [token]


def test_a_schema_and_a_grammar_are_kept_to(gateway: LiveGateway) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}

    by_schema = asked(gateway, prompt=STORY, json_schema=schema, n_predict=64)
    by_grammar = asked(gateway, prompt=STORY, grammar='root ::= "yes" | "no"', n_predict=64)

    assert isinstance(json.loads(by_schema["content"])["a"], int)
    assert by_grammar["content"] in ("yes", "no")


def test_only_the_fields_that_were_asked_for_come_back(gateway: LiveGateway) -> None:
    wanted = ["content", "generation_settings/n_predict", "no_such_field", "content/x"]

    said = asked(gateway, prompt=STORY, response_fields=wanted)

    assert set(said) == {"content", "generation_settings/n_predict"}


def test_the_pieces_of_a_stream_are_whole_and_only_its_last_object_is_chosen(
    gateway: LiveGateway,
) -> None:
    *pieces, last = streamed(gateway, prompt=STORY, response_fields=["tokens_predicted"])

    assert all({"content", "stop"} <= set(one) for one in pieces)
    assert last == {"tokens_predicted": 4}


def test_a_stream_counts_its_tokens_as_they_come(gateway: LiveGateway) -> None:
    ids = ids_of(gateway, STORY)
    *pieces, last = streamed(gateway, prompt=ids)

    made = list(accumulate(len(one["tokens"]) for one in pieces))
    assert [one["tokens_predicted"] for one in pieces] == made
    assert made[-1] == last["tokens_predicted"] == 4
    assert {one["tokens_evaluated"] for one in pieces} == {last["tokens_evaluated"]} == {len(ids)}


def test_an_answer_tells_the_settings_that_it_was_made_with(gateway: LiveGateway) -> None:
    grammar = 'root ::= "yes" | "no"'
    said = asked(
        gateway,
        prompt=STORY,
        grammar=grammar,
        logit_bias=[[5, -1.5]],
        samplers=["top_k", "temperature"],
        timings_per_token=True,
    )["generation_settings"]

    assert said["grammar"] == grammar
    assert said["logit_bias"] == [{"token": 5, "bias": -1.5}]
    assert said["samplers"] == ["top_k", "temperature"]
    assert said["timings_per_token"] is True


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_says_whether_it_has_more_than_one_line(
    gateway: LiveGateway, stream: bool
) -> None:
    for lines, grammar in ((True, r'root ::= "a\nb"'), (False, 'root ::= "ab"')):
        body: dict[str, Any] = {"prompt": STORY, "grammar": grammar, "n_predict": 8}
        said = streamed(gateway, **body)[-1] if stream else asked(gateway, **body)

        assert said["has_new_line"] is lines


def test_a_stream_tells_progress_and_times_where_they_are_asked_for(gateway: LiveGateway) -> None:
    pieces = streamed(
        gateway, prompt=f"{STORY} lion. " * 20, return_progress=True, timings_per_token=True
    )

    progress = [one["prompt_progress"] for one in pieces if "prompt_progress" in one]
    assert progress[-1]["processed"] == progress[-1]["total"] > 0
    made = [one["timings"] for one in pieces if one["tokens"]]
    assert [one["predicted_n"] for one in made] == [1, 2, 3, 4]
    # How much of a prompt was kept from before is known at the end only.
    assert not any("cache" in one for one in progress)
    assert not any("cache_n" in one for one in made)
    assert pieces[-1]["timings"]["cache_n"] >= 0


# What would change the answer and cannot be honoured, and the field that is named.
REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "Mirostat": ({"mirostat": 2}, 501, "mirostat"),
    "DRY": ({"dry_multiplier": 0.8}, 501, "dry_multiplier"),
    "XTC": ({"xtc_probability": 0.5}, 501, "xtc_probability"),
    "dynamic temperature": ({"dynatemp_range": 0.5}, 501, "dynatemp_range"),
    "top-n-sigma": ({"top_n_sigma": 1.5}, 501, "top_n_sigma"),
    "more tokens than the cuts leave": ({"min_keep": 5}, 501, "min_keep"),
    "less than no indentation": ({"n_indent": -1}, 400, "n_indent"),
    "a limit of time that is no number": ({"t_max_predict_ms": "soon"}, 400, "t_max_predict_ms"),
    "the infill sampler beside a temperature": (
        {"samplers": ["temperature", "infill"]},
        501,
        "samplers",
    ),
    "probabilities after the cuts": ({"post_sampling_probs": True}, 501, "post_sampling_probs"),
    "an adapter that is not there": ({"lora": [{"id": 99, "scale": 1.0}]}, 400, "lora"),
    "an adapter without a name": ({"lora": [{"scale": 1.0}]}, 400, "lora"),
    "another order of samplers": ({"samplers": ["temperature", "top_k"]}, 501, "samplers"),
    "a sampler twice": ({"samplers": ["top_k", "top_k"]}, 501, "samplers"),
    "a letter that is no sampler's": ({"samplers": "ekz"}, 400, "samplers"),
    "a sampler that does not exist": ({"samplers": ["best"]}, 400, "samplers"),
    "a picture": (
        {"prompt": {"prompt_string": "<__media__>", "multimodal_data": ["aGk="]}},
        400,
        "prompt.multimodal_data.0",
    ),
    "no prompt": ({"prompt": None}, 400, "prompt"),
    "an empty prompt": ({"prompt": ""}, 400, "prompt"),
    "an empty prompt among others": ({"prompt": ["one", ""]}, 400, "prompt.1"),
    "a number that is no token": ({"prompt": [1, 2.5]}, 400, "prompt.1"),
    "a grammar and a schema": (
        {"grammar": 'root ::= "x"', "json_schema": {}},
        400,
        "grammar",
    ),
    "too many alternatives": ({"n_probs": 1000}, 400, "n_probs"),
    "too many completions": ({"n_cmpl": 1000}, 400, "n_cmpl"),
    "a bias that is no number": ({"logit_bias": [[5, "much"]]}, 400, "logit_bias"),
    "a penalty out of range": ({"repeat_penalty": -3}, 400, "repeat_penalty"),
}


@pytest.mark.parametrize("meant", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_its_name(gateway: LiveGateway, meant: str) -> None:
    body, status, field = REFUSED[meant]
    with gateway.http() as http:
        answer = http.post("/completion", json={"prompt": STORY, "n_predict": 2, **body})

    assert (answer.status_code, answer.json()["error"]["param"]) == (status, field)
