import pytest

from umad.chat.formats import ChatFormat, format_of, format_of_facts

# The telling parts of each family's published template.
TEMPLATES = {
    "hermes": "{%- if tools %}# Tools <tools></tools> in <tool_call></tool_call>{%- endif %}",
    "llama3": "{{ '<|start_header_id|>' }}{% if tools %}{{ '<|python_tag|>' }}{% endif %}",
    "mistral": "{{ '[AVAILABLE_TOOLS] ' + tools | tojson }}{{ '[TOOL_CALLS] [' }}",
    "deepseek": "{{ '<\uff5cAssistant\uff5c>' }}{% if tools %}"
    "{{ '<\uff5ctool\u2581calls\u2581begin\uff5c>' }}{% endif %}",
    "kimi": "{{ '<|im_middle|>' }}{% if tools %}<|tool_calls_section_begin|>{% endif %}",
    "minimax": "{%- set begin = '<minimax:tool_call>' -%}{% if tools %}{% endif %}",
    "glm": "{% if tools %}<tool_call>{name}<arg_key>{key}</arg_key>{% endif %}",
    "qwen_coder": "{% if tools %}<tool_call><function=f><parameter=p>{% endif %}",
    "granite": "{% if tools %}respond with <|tool_call|> followed by a JSON list{% endif %}",
    "nemotron": "{% if tools %}{{ '<TOOLCALL>[' }}{% endif %}",
    "harmony": "{{ '<|start|>assistant<|channel|>analysis<|message|>' }}{% if tools %}{% endif %}",
}


@pytest.mark.parametrize("family", TEMPLATES)
def test_a_family_is_told_from_its_template(family: str) -> None:
    found = format_of(TEMPLATES[family])

    assert (found.family, found.takes_tools) == (family, True)


def test_thinking_is_told_from_its_marks() -> None:
    assert format_of("{{ m.content.split('</think>')[-1] }}").thinking == ("<think>", "</think>")
    assert format_of("{{ '[THINK]' }}[/THINK]").thinking == ("[THINK]", "[/THINK]")
    assert format_of("{{ '</seed:think>' }}").thinking == ("<seed:think>", "</seed:think>")
    assert format_of("{{ m.content }}").thinking is None


def test_a_model_without_a_template_has_a_plain_format() -> None:
    assert format_of(None) == ChatFormat()


@pytest.mark.parametrize("template", [*TEMPLATES.values(), "<think>", None])
def test_a_format_travels_in_the_facts(template: str | None) -> None:
    assert format_of_facts(format_of(template).facts()) == format_of(template)


def test_facts_of_a_daemon_that_does_not_know_families_are_plain() -> None:
    assert format_of_facts({"name": "m", "chat_family": "new"}) == ChatFormat()
