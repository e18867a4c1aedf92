"""The `openai` package against a real gateway on nano: legacy completions."""

import openai
import pytest
from openai import OpenAI
from openai.types import Completion

GREEDY = {"model": "nano", "temperature": 0.0, "max_tokens": 8}
PROMPT = "The quick brown fox"


def complete(client: OpenAI, **more: object) -> Completion:
    answer = client.completions.create(**{**GREEDY, "prompt": PROMPT, **more})  # type: ignore[call-overload]
    return Completion.model_validate(answer.model_dump())


def test_a_text_goes_on_and_echo_repeats_it_first(client: OpenAI) -> None:
    plain, echoed = complete(client), complete(client, echo=True)

    assert plain.choices[0].text
    assert echoed.choices[0].text == PROMPT + plain.choices[0].text
    assert plain.usage is not None
    assert plain.usage.completion_tokens == 8


def test_a_list_of_prompts_is_answered_in_its_order(client: OpenAI) -> None:
    apart = [complete(client, prompt=one).choices[0].text for one in ("One,", "Two,")]

    together = complete(client, prompt=["One,", "Two,"], n=2)

    assert [one.index for one in together.choices] == [0, 1, 2, 3]
    assert [one.text for one in together.choices] == [apart[0], apart[0], apart[1], apart[1]]


def test_a_stream_of_several_prompts_says_the_same(client: OpenAI) -> None:
    whole = complete(client, prompt=["One,", "Two,"])
    texts = {0: "", 1: ""}

    chunks = client.completions.create(  # type: ignore[call-overload]
        **GREEDY, prompt=["One,", "Two,"], stream=True, stream_options={"include_usage": True}
    )
    last = None
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
        last = chunk

    assert texts == {one.index: one.text for one in whole.choices}
    assert last is not None
    assert last.usage.completion_tokens == 16


def test_token_ids_mean_what_their_text_means(client: OpenAI) -> None:
    by_ids = complete(client, prompt=[[300, 301], [302]], echo=True, max_tokens=1)

    assert len(by_ids.choices) == 2
    assert complete(client, prompt=[300, 301], echo=True, max_tokens=1).choices[0].text == (
        by_ids.choices[0].text
    )


def test_logprobs_have_offsets_that_continue_the_text(client: OpenAI) -> None:
    (choice,) = complete(client, logprobs=2, max_tokens=4).choices

    assert choice.logprobs is not None
    tokens, offsets = choice.logprobs.tokens, choice.logprobs.text_offset
    assert tokens is not None
    assert offsets is not None
    assert "".join(tokens) == choice.text
    assert offsets == [len("".join(tokens[:at])) for at in range(4)]
    assert choice.logprobs.top_logprobs is not None
    assert all(len(one) == 2 for one in choice.logprobs.top_logprobs)


def test_no_tokens_with_echo_is_the_prompt_itself(client: OpenAI) -> None:
    answer = complete(client, max_tokens=0, echo=True)

    assert answer.choices[0].text == PROMPT
    assert answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("prompt", {"prompt": []}),
        ("prompt", {"prompt": [["a"]]}),
        ("prompt", {"prompt": [1.5]}),
        ("prompt", {"prompt": ["x"] * 65}),
        ("prompt", {"prompt": [10_000_000]}),
        ("best_of", {"best_of": 4}),
        ("logprobs", {"logprobs": 99}),
    ],
)
def test_what_is_wrong_is_said_with_its_field(
    client: OpenAI, field: str, change: dict[str, object]
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, **change)

    assert caught.value.param == field


def test_what_the_prompts_own_tokens_are_worth_is_told_with_the_echo(client: OpenAI) -> None:
    # Not checked against the package's type: it has no None, which OpenAI's API sends for the first
    # token.
    answer = client.completions.create(
        model="nano", prompt=PROMPT, max_tokens=0, echo=True, logprobs=1, temperature=0
    )
    (choice,) = answer.choices

    assert choice.logprobs is not None
    assert choice.logprobs.tokens is not None
    assert "".join(choice.logprobs.tokens) == choice.text == PROMPT
    assert (choice.logprobs.token_logprobs or [])[0] is None
    assert (choice.logprobs.token_logprobs or [])[1] < 0


def test_a_suffix_is_written_up_to(client: OpenAI) -> None:
    between = complete(client, prompt="def add(a, b):\n    return ", suffix="\n\nprint(add(1, 2))")

    assert between.choices[0].text != complete(client).choices[0].text
    assert between.usage is not None
    assert between.usage.prompt_tokens > 5
