"""The table of docs/compatibility.md: each row is a case, named by what the user meant."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.answering_service import Door, open_door
from umad.gateway.bodies.durations import seconds_of
from umad.gateway.bodies.values import WHOLE_PROMPT_TOKENS

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
OLLAMA = "/api/chat"
OLLAMA_TEXT = "/api/generate"
INFILL = "/infill"
NATIVE = "/generate"

HELLO = [{"role": "user", "content": "hi"}]
LEAST: dict[str, dict[str, Any]] = {
    CHAT: {"messages": HELLO},
    TEXT: {"prompt": "hi"},
    RESPONSES: {"input": "hi"},
    MESSAGES: {"model": "scripted", "messages": HELLO, "max_tokens": 8},
    COUNT: {"model": "scripted", "messages": HELLO},
    OLLAMA: {"model": "scripted", "messages": HELLO, "stream": False},
    OLLAMA_TEXT: {"model": "scripted", "prompt": "hi", "stream": False},
    INFILL: {"input_prefix": "a", "input_suffix": "b"},
    NATIVE: {"prompt": "hi", "stream": False},
}
OPTIONS = (OLLAMA, OLLAMA_TEXT)
STREAMS = ("text/event-stream", "application/x-ndjson")
# Every endpoint that generates; count_tokens only counts.
GENERATING = (CHAT, TEXT, RESPONSES, MESSAGES, OLLAMA, OLLAMA_TEXT, INFILL, NATIVE)
# The name of the limit, where it is an answer's.
LIMITS = {
    CHAT: ("max_tokens", "max_completion_tokens", "n_predict"),
    TEXT: ("max_tokens", "max_completion_tokens", "n_predict"),
    RESPONSES: ("max_output_tokens", "max_completion_tokens", "max_tokens"),
    MESSAGES: ("max_tokens",),
    OLLAMA: ("num_predict", "n_predict"),
    OLLAMA_TEXT: ("num_predict",),
    INFILL: ("n_predict", "max_tokens"),
    NATIVE: ("max_tokens",),
}


def body_of(path: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The smallest body with these fields of sampling where the dialect has them."""
    if path in OPTIONS:
        return {**LEAST[path], "options": fields}
    return {**LEAST[path], **fields}


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with open_door() as one:
        yield one


# -- limits ----------------------------------------------------------------------------------------

NO_LIMIT = [(path, name, -1) for path, names in LIMITS.items() for name in names]
NO_LIMIT += [(CHAT, "max_tokens", 0), (CHAT, "max_completion_tokens", 0)]
NO_LIMIT += [(RESPONSES, "max_output_tokens", 0), (OLLAMA, "num_predict", 0)]
NO_LIMIT += [(OLLAMA, "num_predict", -2), (INFILL, "n_predict", -2)]


@pytest.mark.parametrize(("path", "name", "value"), NO_LIMIT)
@pytest.mark.parametrize("spelled", [int, float, str])
def test_as_many_tokens_as_fit(door: Door, path: str, name: str, value: int, spelled: type) -> None:
    sampling = door.asked(path, body_of(path, {name: spelled(value)})).sampling

    assert sampling.max_tokens is None


@pytest.mark.parametrize("path", [path for path in GENERATING if path != NATIVE])
@pytest.mark.parametrize("value", [10_000_000, 2**31 - 1, 2**63, 1e12])
def test_a_limit_above_the_room_is_a_ceiling(door: Door, path: str, value: float) -> None:
    sampling = door.asked(path, body_of(path, {LIMITS[path][0]: value})).sampling

    assert sampling.fit
    assert sampling.max_tokens == 10_000_000


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize("value", [64, 64.0, "64", " 64 ", "64.0"])
def test_sixty_four_tokens_however_it_is_spelled(door: Door, path: str, value: Any) -> None:
    for name in LIMITS[path]:
        assert door.asked(path, body_of(path, {name: value})).sampling.max_tokens == 64


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize("value", [64.5, True, "many", [64], {"a": 1}, -7, ""])
def test_what_is_no_limit_is_refused_by_the_name_in_the_body(
    door: Door, path: str, value: Any
) -> None:
    for name in LIMITS[path]:
        wanted = f"options.{name}" if path in OPTIONS else name
        assert door.refusal(path, body_of(path, {name: value})) == wanted


def test_no_tokens_of_a_text_completion_are_no_tokens(door: Door) -> None:
    answer = door.post(TEXT, {"prompt": "hi", "max_tokens": 0, "echo": True})

    assert answer.json()["choices"][0]["text"] == "hi"


def test_messages_take_no_limit_of_zero(door: Door) -> None:
    assert door.refusal(MESSAGES, {**LEAST[MESSAGES], "max_tokens": 0}) == "max_tokens"


@pytest.mark.parametrize("stream", [False, True])
def test_an_infill_of_no_tokens_only_reads_the_prompt(door: Door, stream: bool) -> None:
    answer = door.post(INFILL, {**LEAST[INFILL], "n_predict": 0, "stream": stream})

    lines = [one for one in answer.text.splitlines() if one and not one.startswith(":")]
    (only,) = [json.loads(one.removeprefix("data: ")) for one in lines]
    assert (only["content"], only["tokens_predicted"], only["stop"]) == ("", 0, True)
    assert door.service.asked[-1].sampling.max_tokens == 1


def test_an_infill_without_a_limit_is_as_short_as_llama_servers(door: Door) -> None:
    assert door.asked(INFILL, LEAST[INFILL]).sampling.max_tokens == 128


def test_the_newer_of_two_limits_counts_in_a_chat(door: Door) -> None:
    body = {**LEAST[CHAT], "max_tokens": 5, "max_completion_tokens": 9}

    assert door.asked(CHAT, body).sampling.max_tokens == 9


# -- how tokens are drawn --------------------------------------------------------------------------


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize(
    ("meant", "fields", "wanted"),
    [
        ("no cut to the likeliest", {"top_k": -1}, {"top_k": 0}),
        ("no cut to the likeliest", {"top_k": 0}, {"top_k": 0}),
        ("no cut to the likeliest", {"top_k": "-1"}, {"top_k": 0}),
        ("no cut to the likeliest", {"top_k": 2**31 - 1}, {"top_k": 1_000_000}),
        ("forty", {"top_k": 40.0}, {"top_k": 40}),
        ("a temperature as text", {"temperature": "0.5"}, {"temperature": 0.5}),
        ("llama.cpp's penalty", {"repeat_penalty": 1.1}, {"repetition_penalty": 1.1}),
        ("vLLM's penalty", {"repetition_penalty": 1.1}, {"repetition_penalty": 1.1}),
        (
            "the same penalty twice",
            {"repeat_penalty": 1.1, "repetition_penalty": 1.1},
            {"repetition_penalty": 1.1},
        ),
        ("all of the prompt", {"repeat_last_n": -1}, {"penalty_last_n": WHOLE_PROMPT_TOKENS}),
        ("no window", {"penalty_last_n": 0}, {"penalty_last_n": 0}),
        ("any seed", {"seed": -1}, {"seed": None}),
        ("a seed", {"seed": "7"}, {"seed": 7}),
        ("seed 0", {"seed": 0}, {"seed": 0}),
        ("a floor", {"min_p": 0.1}, {"min_p": 0.1}),
        ("never end", {"ignore_eos": "true"}, {"ignore_eos": True}),
        ("no stop string", {"stop": ""}, {"stop": ()}),
        ("no stop string", {"stop": [""]}, {"stop": ()}),
        ("no stop string", {"stop": []}, {"stop": ()}),
        ("no stop string", {"stop": None}, {"stop": ()}),
        ("one stop string", {"stop": ["", "x", None]}, {"stop": ("x",)}),
        ("one stop string", {"stop": "x"}, {"stop": ("x",)}),
        ("a token by its id", {"logit_bias": {"15043": 1}}, {"logit_bias": ((15043, 1.0),)}),
        ("a token by its id", {"logit_bias": {"15043": "1"}}, {"logit_bias": ((15043, 1.0),)}),
        ("a token by its id", {"logit_bias": [[15043, -0.5]]}, {"logit_bias": ((15043, -0.5),)}),
        ("a token by its id", {"logit_bias": [[15043.0, 1]]}, {"logit_bias": ((15043, 1.0),)}),
        ("never that token", {"logit_bias": [[15043, False]]}, {"logit_bias": ((15043, -1e9),)}),
        ("never that token", {"logit_bias": {"15043": False}}, {"logit_bias": ((15043, -1e9),)}),
        ("no bias", {"logit_bias": {}}, {"logit_bias": ()}),
        ("no bias", {"logit_bias": []}, {"logit_bias": ()}),
        ("no bias", {"logit_bias": {"5": None}}, {"logit_bias": ()}),
        (
            "the tokens of a text",
            {"logit_bias": {"ab": 2}},
            {"logit_bias": ((ord("a"), 2.0), (ord("b"), 2.0))},
        ),
        (
            "a text and an id",
            {"logit_bias": [["a", 1], [5, 2]]},
            {"logit_bias": ((5, 2.0), (ord("a"), 1.0))},
        ),
        ("a text of digits", {"logit_bias": [["5", 1]]}, {"logit_bias": ((ord("5"), 1.0),)}),
    ],
)
def test_every_generating_endpoint_draws_as_was_meant(
    door: Door, path: str, meant: str, fields: dict[str, Any], wanted: dict[str, Any]
) -> None:
    sampling = door.asked(path, body_of(path, fields)).sampling

    assert {name: getattr(sampling, name) for name in wanted} == wanted, meant


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_k", -5),
        ("top_k", 1.5),
        ("temperature", True),
        ("temperature", "warm"),
        ("repeat_penalty", 0),
        ("repetition_penalty", "x"),
        ("repeat_last_n", -9),
        ("min_p", 7),
        ("stop", 5),
        ("stop", [["x"]]),
        ("logit_bias", 5),
        ("logit_bias", {"-5": 1}),
        ("logit_bias", {"5": "much"}),
        ("logit_bias", {"5": True}),
        ("logit_bias", [[5]]),
        ("logit_bias", [[1.5, 1]]),
        ("logit_bias", [["", 1]]),
        ("logit_bias", {f"text {at}": 1 for at in range(300)}),
        ("ignore_eos", "perhaps"),
        ("ignore_eos", 2),
        ("seed", 1.5),
    ],
)
def test_what_cannot_be_meant_is_refused_by_the_name_in_the_body(
    door: Door, path: str, name: str, value: Any
) -> None:
    wanted = f"options.{name}" if path in OPTIONS else name

    found = door.refusal(path, body_of(path, {name: value}))

    assert found == wanted or found.startswith(f"{wanted}."), found


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize("name", ["context_shift", "ctx_shift"])
def test_a_context_is_never_shifted_and_whoever_asks_for_it_is_told(
    door: Door, path: str, name: str
) -> None:
    wanted = f"options.{name}" if path in OPTIONS else name

    for value in (True, "true", 1):
        assert door.refusal(path, body_of(path, {name: value})) == wanted
    door.asked(path, body_of(path, {name: False}))


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize(
    ("fields", "may_guess"),
    [
        ({}, True),
        ({"speculate": None}, True),
        ({"speculate": "true"}, True),
        ({"speculate": False}, False),
        ({"speculate": 0}, False),
        ({"speculative.n_max": 16}, True),
        ({"speculative.n_max": 0}, False),
    ],
)
def test_every_endpoint_lets_a_client_turn_guesses_off(
    door: Door, path: str, fields: dict[str, Any], may_guess: bool
) -> None:
    assert door.asked(path, body_of(path, fields)).speculate == may_guess


@pytest.mark.parametrize("path", GENERATING)
def test_what_is_no_yes_or_no_to_guesses_is_refused(door: Door, path: str) -> None:
    wanted = "options.speculate" if path in OPTIONS else "speculate"

    assert door.refusal(path, body_of(path, {"speculate": "fast"})) == wanted


@pytest.mark.parametrize("path", OPTIONS)
def test_ollamas_guesses_are_turned_off_beside_the_options_too(door: Door, path: str) -> None:
    assert not door.asked(path, {**LEAST[path], "speculate": False}).speculate
    assert door.refusal(path, {**LEAST[path], "speculate": "fast"}) == "speculate"


@pytest.mark.parametrize("path", OPTIONS)
def test_ollamas_own_word_for_a_shifted_context_is_refused_too(door: Door, path: str) -> None:
    assert door.refusal(path, {**LEAST[path], "shift": True}) == "shift"
    door.asked(path, {**LEAST[path], "shift": False, "options": {"num_keep": 24}})


@pytest.mark.parametrize("path", GENERATING)
def test_two_names_with_two_values_are_refused(door: Door, path: str) -> None:
    found = door.refusal(path, body_of(path, {"repeat_penalty": 1.1, "repetition_penalty": 1.2}))

    assert found.endswith("repeat_penalty")


@pytest.mark.parametrize(
    ("value", "stops"), [("", ()), ([""], ()), (None, ()), (["", "x"], ("x",)), ("x", ("x",))]
)
def test_messages_have_their_own_name_for_stop_strings(
    door: Door, value: Any, stops: tuple[str, ...]
) -> None:
    sampling = door.asked(MESSAGES, {**LEAST[MESSAGES], "stop_sequences": value}).sampling

    assert sampling.stop == stops


@pytest.mark.parametrize("path", [CHAT, TEXT, RESPONSES, MESSAGES, OLLAMA, NATIVE])
@pytest.mark.parametrize("value", [True, "true", "True", 1, 1.0])
def test_a_stream_is_asked_for_in_several_spellings(door: Door, path: str, value: Any) -> None:
    answer = door.post(path, {**LEAST[path], "stream": value})

    assert answer.status_code == 200
    assert (
        "json" not in answer.headers["content-type"] or "ndjson" in answer.headers["content-type"]
    )


def test_a_text_completion_without_logprobs_may_say_false(door: Door) -> None:
    assert door.asked(TEXT, {**LEAST[TEXT], "logprobs": False}).sampling.logprobs is None
    assert door.asked(TEXT, {**LEAST[TEXT], "logprobs": 0}).sampling.logprobs == 0
    assert door.refusal(TEXT, {**LEAST[TEXT], "logprobs": True}) == "logprobs"


# -- keep_alive ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meant_s", "value"),
    [
        (300, 300),
        (300, "300"),
        (300, "5m"),
        (300, "300s"),
        (300.5, 300.5),
        (5400, "1h30m"),
        (5400, "1.5h"),
        (0.5, "500ms"),
        (0, 0),
        (0, "0"),
        (0, "0s"),
        (0, "-0"),
        (math.inf, -1),
        (math.inf, "-1"),
        (math.inf, "-1m"),
        (math.inf, -1.5),
        (30, " 30 "),
    ],
)
def test_keep_alive_in_all_its_forms(door: Door, meant_s: float, value: float | str) -> None:
    assert seconds_of(value) == meant_s
    for path in (OLLAMA, OLLAMA_TEXT, "/api/embed", "/api/embeddings"):
        body = LEAST.get(path, {"model": "scripted", "input": "a", "prompt": "a"})
        assert door.post(path, {**body, "keep_alive": value}).status_code == 200


@pytest.mark.parametrize("value", [None, "", " "])
def test_an_empty_keep_alive_is_none(door: Door, value: Any) -> None:
    answer = door.post(OLLAMA, {"model": "scripted", "keep_alive": value, "messages": []})

    assert answer.json()["done_reason"] == "load"


@pytest.mark.parametrize("value", [0, 0.0, "0", "0s", "-0"])
def test_a_keep_alive_of_nothing_unloads(door: Door, value: Any) -> None:
    answer = door.post(OLLAMA, {"model": "scripted", "keep_alive": value, "messages": []})

    assert answer.json()["done_reason"] == "unload"


@pytest.mark.parametrize("value", ["soon", "5 minutes", True, [], "1d", "5m-", "--1", "1e3"])
def test_what_is_no_duration_is_refused_by_its_name(door: Door, value: Any) -> None:
    assert door.refusal(OLLAMA, {**LEAST[OLLAMA], "keep_alive": value}) == "keep_alive"


# -- vectors and ranks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": "a", "dimensions": "4"}),
        ("/v1/embeddings", {"input": "a", "dimensions": 4.0, "encoding_format": None}),
        ("/api/embed", {"model": "scripted", "input": ["a"], "dimensions": 4.0, "truncate": 1}),
        (
            "/v1/rerank",
            {"query": "q", "documents": ["a"], "top_n": 1.0, "return_documents": "true"},
        ),
        ("/rerank", {"query": "q", "documents": ["a"], "top_n": None, "return_documents": None}),
        ("/embedding", {"content": "a", "embd_normalize": -1.0}),
        ("/embedding", {"input": "a", "embd_normalize": None}),
        ("/tokenize", {"content": "a", "add_special": "false", "with_pieces": 1}),
        ("/api/show", {"name": "scripted", "model": None, "verbose": "true"}),
    ],
)
def test_vectors_ranks_and_tokens_take_the_same_spellings(
    door: Door, path: str, body: dict[str, Any]
) -> None:
    assert door.post(path, body).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/embeddings", {"input": "a", "dimensions": 4.5}, "dimensions"),
        ("/v1/rerank", {"query": "q", "documents": ["a"], "top_n": True}, "top_n"),
        ("/embedding", {"input": 5}, "input"),
    ],
)
def test_wrong_values_are_refused_there_as_well(
    door: Door, path: str, body: dict[str, Any], field: str
) -> None:
    assert door.refusal(path, body) == field


# -- the form of the answer ------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TEXT_OF_SCHEMA = json.dumps(SCHEMA)
OBJECT = {"type": "object"}
LARK_OF_LLAMA_CPP = "%llguidance {}\nstart: /a/"


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize(
    ("fields", "kind", "wanted"),
    [
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
            "json_schema",
            SCHEMA,
        ),
        ({"response_format": {"type": "json_object"}}, "json_schema", OBJECT),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, "json_schema", SCHEMA),
        ({"response_format": {"type": "json_schema", "schema": SCHEMA}}, "json_schema", SCHEMA),
        (
            {"response_format": {"type": "json_object", "json_schema": {"schema": SCHEMA}}},
            "json_schema",
            SCHEMA,
        ),
        ({"response_format": {"type": "json", "value": SCHEMA}}, "json_schema", SCHEMA),
        ({"response_format": {"type": "regex", "value": "a+"}}, "regex", "a+"),
        ({"response_format": {"type": "regex", "pattern": "a+"}}, "regex", "a+"),
        ({"response_format": {"type": "grammar", "grammar": "root ::= a"}}, "gbnf", "root ::= a"),
        ({"text": {"format": {"type": "json_schema", "schema": SCHEMA}}}, "json_schema", SCHEMA),
        ({"text": {"format": {"type": "json_object"}}}, "json_schema", OBJECT),
        ({"json_schema": SCHEMA}, "json_schema", SCHEMA),
        ({"json_schema": TEXT_OF_SCHEMA}, "json_schema", SCHEMA),
        ({"format": "json"}, "json_schema", OBJECT),
        ({"format": SCHEMA}, "json_schema", SCHEMA),
        ({"output_format": {"type": "json_schema", "schema": SCHEMA}}, "json_schema", SCHEMA),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            "json_schema",
            SCHEMA,
        ),
        ({"guided_json": SCHEMA}, "json_schema", SCHEMA),
        ({"guided_json": TEXT_OF_SCHEMA}, "json_schema", SCHEMA),
        ({"guided_json_object": True}, "json_schema", OBJECT),
        ({"structured_outputs": {"json": SCHEMA}}, "json_schema", SCHEMA),
        ({"structured_outputs": {"json_object": True}}, "json_schema", OBJECT),
        ({"structured_outputs": {"regex": "a+"}}, "regex", "a+"),
        ({"structured_outputs": {"choice": ["a", "b"]}}, "lark", 'start: "a" | "b"'),
        ({"structured_outputs": {"grammar": "root ::= a"}}, "gbnf", "root ::= a"),
        ({"guided_regex": "a+"}, "regex", "a+"),
        ({"regex": "a+"}, "regex", "a+"),
        ({"guided_choice": ["a"]}, "lark", 'start: "a"'),
        ({"guided_grammar": "start: /a/"}, "lark", "start: /a/"),
        ({"guided_grammar": "root ::= a"}, "gbnf", "root ::= a"),
        ({"ebnf": "root ::= a"}, "gbnf", "root ::= a"),
        ({"grammar": "root ::= a"}, "gbnf", "root ::= a"),
        ({"grammar": LARK_OF_LLAMA_CPP}, "lark", LARK_OF_LLAMA_CPP),
        ({"grammar": {"lark": "start: /a/"}}, "lark", "start: /a/"),
        ({"grammar": {"type": "regex", "value": "a+"}}, "regex", "a+"),
        ({"grammar": {"type": "json", "value": SCHEMA}}, "json_schema", SCHEMA),
        ({"json_schema": SCHEMA, "response_format": {"type": "text"}}, "json_schema", SCHEMA),
        ({"json_schema": SCHEMA, "guided_json": SCHEMA}, "json_schema", SCHEMA),
        ({"json_schema": SCHEMA, "grammar": "", "format": ""}, "json_schema", SCHEMA),
    ],
)
def test_a_schema_holds_wherever_the_client_puts_it(
    door: Door, path: str, fields: dict[str, Any], kind: str, wanted: Any
) -> None:
    constraint = door.asked(path, {**LEAST[path], **fields}).constraint

    assert constraint is not None
    assert constraint.kind == kind
    found = json.loads(constraint.text) if kind == "json_schema" else constraint.text
    assert found == wanted


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "text", "schema": SCHEMA}}, "response_format.type"),
        ({"response_format": {"type": "regex"}}, "response_format.pattern"),
        ({"json_schema": False}, "json_schema"),
        ({"json_schema": "{"}, "json_schema"),
        ({"guided_json": "[1]"}, "guided_json"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": ["a", ""]}, "guided_choice"),
        ({"grammar": {"type": "xml", "value": "x"}}, "grammar"),
        ({"grammar": 5}, "grammar"),
        ({"structured_outputs": {"structural_tag": {}}}, "structured_outputs.structural_tag"),
        ({"structural_tag": {"a": 1}}, "structural_tag"),
        ({"format": "xml"}, "format"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"json_schema": SCHEMA, "guided_regex": "a"}, "guided_regex"),
        ({"response_format": {"type": "json_object"}, "grammar": "root ::= a"}, "grammar"),
    ],
)
def test_a_form_that_cannot_be_kept_is_refused_by_its_place(
    door: Door, path: str, fields: dict[str, Any], field: str
) -> None:
    assert door.refusal(path, {**LEAST[path], **fields}) == field


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({"json_whitespace": "free"}, r"[ \n\r\t]{1,24}"),
        ({"guided_whitespace_pattern": " ?"}, " ?"),
        ({"structured_outputs": {"whitespace_pattern": " ?"}}, " ?"),
    ],
)
def test_white_space_between_the_parts_of_json_is_there_where_it_is_asked_for(
    door: Door, path: str, fields: dict[str, Any], pattern: str
) -> None:
    constraint = door.asked(path, {**LEAST[path], "json_schema": SCHEMA, **fields}).constraint

    assert constraint is not None
    assert json.loads(constraint.text)["x-guidance"]["whitespace_pattern"] == pattern
