"""`echo` with `logprobs`: how probable the prompt's own tokens are, as evaluation harnesses ask."""

import json
from typing import Any

import pytest

from tests.gateway.gateways import LiveGateway

# llama.cpp has other kernels for a step of one row than for one of many, and they round otherwise:
# 0.05 was seen. `make harness-test` compares like with like, to 1e-3.
NOISE = 0.15
STORY = "Once upon a time there was a little girl who lived in the woods."


def choices(gateway: LiveGateway, **body: Any) -> list[dict[str, Any]]:
    with gateway.http() as http:
        answer = http.post(
            "/v1/completions",
            json={"model": "nano", "temperature": 0, "echo": True, "logprobs": 1, **body},
        )
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["choices"]
    return found


def ids_of(gateway: LiveGateway, text: str) -> list[int]:
    with gateway.http() as http:
        tokens: list[int] = http.post("/tokenize", json={"content": text}).json()["tokens"]
    return tokens


@pytest.mark.parametrize("max_tokens", [0, 1, 3])
def test_the_echo_has_every_token_with_its_probability_and_place(
    gateway: LiveGateway, max_tokens: int
) -> None:
    (choice,) = choices(gateway, prompt=STORY, max_tokens=max_tokens)
    told = choice["logprobs"]
    n = len(ids_of(gateway, STORY)) + max_tokens

    assert {len(column) for column in told.values()} == {n}
    assert told["token_logprobs"][0] is None
    assert told["top_logprobs"][0] is None
    assert all(one < 0 for one in told["token_logprobs"][1:])
    assert "".join(told["tokens"]) == choice["text"]
    assert choice["text"].startswith(STORY)
    for token, at in zip(told["tokens"], told["text_offset"], strict=True):
        assert choice["text"][at : at + len(token)] == token


def test_a_token_is_as_probable_in_a_prompt_as_it_was_when_it_was_made(
    gateway: LiveGateway,
) -> None:
    # Each of the tokens that follow is the best by 0.4 nats and more, far above the noise.
    text = "One,"
    ids = ids_of(gateway, text)
    with gateway.http() as http:
        body = {"prompt": text, "temperature": 0, "n_predict": 8, "n_probs": 1}
        made = http.post("/completion", json={**body, "return_tokens": True}).json()
    was = [row["logprob"] for row in made["completion_probabilities"]]

    (choice,) = choices(gateway, prompt=[*ids, *made["tokens"]], max_tokens=1)
    now = choice["logprobs"]["token_logprobs"][len(ids) : len(ids) + len(was)]

    assert now == pytest.approx(was, abs=NOISE)
    tops = choice["logprobs"]["top_logprobs"][len(ids) : len(ids) + len(was)]
    assert [max(top.values()) for top in tops] == now, "a temperature of 0 takes the best"


@pytest.mark.parametrize("text", ["short", STORY])
def test_a_prompt_that_is_kept_already_gets_the_same_probabilities(
    gateway: LiveGateway, text: str
) -> None:
    first, second = (choices(gateway, prompt=text, max_tokens=1)[0] for _ in range(2))

    before, again = (one["logprobs"]["token_logprobs"][1:] for one in (first, second))
    assert again == pytest.approx(before, abs=NOISE)


def test_a_long_prompt_that_is_kept_already_is_scored_anew(gateway: LiveGateway) -> None:
    (first,) = choices(gateway, prompt=f"{STORY} " * 30, max_tokens=1)
    (second,) = choices(gateway, prompt=f"{STORY} " * 30, max_tokens=1)

    before, again = (one["logprobs"]["token_logprobs"][1:] for one in (first, second))
    assert len(before) > 500
    assert again == pytest.approx(before, abs=0.3), "rounding adds up over a long text"


def test_several_prompts_are_scored_side_by_side_as_alone(gateway: LiveGateway) -> None:
    texts = [STORY, "def main():\n    return 1", "a"]
    together = choices(gateway, prompt=texts, max_tokens=1)

    for text, one in zip(texts, together, strict=True):
        (alone,) = choices(gateway, prompt=text, max_tokens=1)
        assert one["logprobs"]["tokens"] == alone["logprobs"]["tokens"]
        assert one["logprobs"]["token_logprobs"][1:] == pytest.approx(
            alone["logprobs"]["token_logprobs"][1:], abs=NOISE
        )


def test_several_completions_of_a_prompt_share_its_echo(gateway: LiveGateway) -> None:
    first, second = choices(gateway, prompt=STORY, max_tokens=2, n=2, temperature=1)
    n = len(ids_of(gateway, STORY))

    assert first["logprobs"]["token_logprobs"][:n] == second["logprobs"]["token_logprobs"][:n]


def test_a_stream_sends_the_echo_first_with_its_probabilities(gateway: LiveGateway) -> None:
    body = {"model": "nano", "prompt": STORY, "echo": True, "logprobs": 0, "max_tokens": 2}
    with gateway.http() as http:
        answer = http.post("/v1/completions", json={**body, "temperature": 0, "stream": True})
    pieces = [
        json.loads(line.removeprefix("data: "))["choices"][0]
        for line in answer.text.splitlines()
        if line.startswith("data: {")
    ]
    (whole,) = choices(gateway, prompt=STORY, logprobs=0, max_tokens=2)

    assert pieces[0]["text"] == STORY
    told = [one for piece in pieces for one in (piece["logprobs"] or {}).get("tokens", [])]
    assert told == whole["logprobs"]["tokens"]


def test_others_get_their_tokens_while_a_long_prompt_is_scored(gateway: LiveGateway) -> None:
    with gateway.http() as http, gateway.http() as other:
        body = {"prompt": "One two", "n_predict": 400, "ignore_eos": True, "stream": True}
        with http.stream("POST", "/completion", json=body) as stream:
            lines = (line for line in stream.iter_lines() if line.startswith("data: "))
            next(lines)
            scored = other.post(
                "/v1/completions",
                json={
                    "model": "nano",
                    "prompt": f"{STORY} " * 20,
                    "echo": True,
                    "logprobs": 1,
                    "max_tokens": 1,
                },
            )
            rest = sum(1 for _ in lines)

    assert scored.status_code == 200
    assert rest > 100


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "too many alternatives": ({"logprobs": 21}, 400, "logprobs"),
    "a stream of several": ({"n": 2, "stream": True}, 501, "n"),
    "a suffix": ({"suffix": "x"}, 400, "echo"),
    "no prompt": ({"prompt": []}, 400, "prompt"),
}


@pytest.mark.parametrize("meant", REFUSED)
def test_what_cannot_be_scored_is_refused_by_its_name(gateway: LiveGateway, meant: str) -> None:
    more, status, field = REFUSED[meant]
    body = {"model": "nano", "prompt": STORY, "echo": True, "logprobs": 1, "max_tokens": 1}
    with gateway.http() as http:
        answer = http.post("/v1/completions", json={**body, **more})

    assert (answer.status_code, answer.json()["error"]["param"]) == (status, field)
