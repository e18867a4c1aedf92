"""How much to think, in the variables of each family's template. Templates of our own."""

from typing import Any

import pytest

from umad.conversation import ChatMessage, ChatOptions
from umad.engine.chats.chat_template import ChatTemplate
from umad.engine.chats.template_program import TemplateProgram

USER = (ChatMessage(role="user", content="UA"),)


def rendered(source: str, tokens: int | None = None, **variables: Any) -> str:
    template = ChatTemplate(source, bos_text="", eos_text="", run=TemplateProgram)
    return template.render(
        USER, ChatOptions(template_kwargs=variables, thinking_tokens=tokens)
    ).text


SWITCHES = {
    "qwen": ("{% if enable_thinking is false %}off{% else %}on{% endif %}", "on"),
    "gemma 4": ("{% if enable_thinking | default(false) %}on{% else %}off{% endif %}", "off"),
    "deepseek": (
        "{% if not thinking is defined %}off{% elif thinking %}on{% else %}off{% endif %}",
        "off",
    ),
    "granite 3.3": ("{% if thinking %}on{% else %}off{% endif %}", "off"),
    "kimi k3": (
        (
            "{% if thinking is undefined %}{% set thinking = true %}{% endif %}"
            "{{ 'on' if thinking else 'off' }}"
        ),
        "on",
    ),
    "minimax m3": (
        (
            "{% if thinking_mode is defined and thinking_mode == 'disabled' %}off"
            "{% elif thinking_mode is defined and thinking_mode == 'enabled' %}on"
            "{% else %}adaptive{% endif %}"
        ),
        "adaptive",
    ),
    "hunyuan 3": (
        (
            "{% if not reasoning_effort is defined %}{% set reasoning_effort = 'no_think' %}"
            "{% elif reasoning_effort not in ['high', 'low', 'no_think'] %}"
            "{{ raise_exception('no') }}{% endif %}"
            "{{ 'off' if reasoning_effort == 'no_think' else 'on' }}"
        ),
        "off",
    ),
    "mistral 4": (
        (
            "{% set reasoning_effort = reasoning_effort or 'none' %}"
            "{% if reasoning_effort not in ['none', 'high'] %}"
            "{{ raise_exception('no') }}{% endif %}"
            "{{ 'on' if reasoning_effort == 'high' else 'off' }}"
        ),
        "off",
    ),
}


@pytest.mark.parametrize("family", SWITCHES)
def test_the_switch_reaches_each_template_in_its_own_variable(family: str) -> None:
    source, unasked = SWITCHES[family]

    assert rendered(source, enable_thinking=True) == "on"
    assert rendered(source, enable_thinking=False) == "off"
    assert rendered(source) == unasked


@pytest.mark.parametrize("family", SWITCHES)
@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh", "max"])
def test_an_effort_switches_thinking_and_no_template_refuses_it(family: str, effort: str) -> None:
    expected = "off" if effort in ("none", "minimal") else "on"

    assert rendered(SWITCHES[family][0], reasoning_effort=effort) == expected


def test_a_switch_that_the_request_sets_by_its_own_name_stays() -> None:
    source = SWITCHES["deepseek"][0]

    assert rendered(source, thinking=False, enable_thinking=True) == "off"


STRICT = (
    "{% if reasoning_effort is defined and reasoning_effort not in ['low', 'high', 'max'] %}"
    "{{ raise_exception('no') }}{% endif %}{{ reasoning_effort }}"
)


@pytest.mark.parametrize(
    ("asked", "taken"),
    [("minimal", "low"), ("low", "low"), ("medium", "high"), ("high", "high"), ("xhigh", "max")],
)
def test_an_effort_that_is_refused_becomes_the_nearest_that_is_taken(
    asked: str, taken: str
) -> None:
    assert rendered(STRICT, reasoning_effort=asked) == taken


def test_kimi_k3_is_told_the_effort_in_its_own_variable() -> None:
    source = "{% if thinking_effort is defined %}{{ thinking_effort }}{% endif %}"

    assert rendered(source, reasoning_effort="low") == "low"


def test_gpt_oss_is_told_one_of_the_efforts_that_it_knows() -> None:
    source = "<|channel|>{% if reasoning_effort is defined %}{{ reasoning_effort }}{% endif %}"

    assert rendered(source, reasoning_effort="max") == "<|channel|>high"
    assert rendered(source, reasoning_effort="none") == "<|channel|>low"
    assert rendered(source) == "<|channel|>"


def test_an_effort_of_no_known_name_is_left_to_the_template() -> None:
    assert (
        rendered("{% if reasoning_effort %}{{ reasoning_effort }}{% endif %}", reasoning_effort=5)
        == "5"
    )


def test_seed_oss_is_told_its_budget() -> None:
    source = "{% if thinking_budget is defined %}{{ thinking_budget }}{% endif %}"

    assert rendered(source, tokens=512) == "512"
    assert rendered(source) == ""


def test_a_template_that_refuses_every_chat_is_not_blamed_on_the_effort() -> None:
    source = (
        "{% if messages | length < 2 %}{{ raise_exception('two') }}{% endif %}"
        "{{ reasoning_effort }}"
    )
    template = ChatTemplate(source, bos_text="", eos_text="", run=TemplateProgram)
    turns = (*USER, ChatMessage(role="assistant", content="AA"), *USER)

    text = template.render(turns, ChatOptions(template_kwargs={"reasoning_effort": "max"})).text

    assert text == "max"
