import pytest

from umad.chat.formats import OWN_THINKING, ChatFormat, format_of, format_of_facts

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
    "mistral_args": "{{ '[TOOL_CALLS]' + name + '[ARGS]' }}{% if tools %}{% endif %}",
    "deepseek_v32": "{% set d='\uff5cDSML\uff5c' %}{% if tools %}<'+d+'function_calls>{% endif %}",
    "deepseek_v4": "{% set d='\uff5cDSML\uff5c' %}{% if tools %}<' + d + 'tool_calls>{% endif %}",
    "gemma4": "{{ '<|tool_call>call:' + name + '{' }}{% if tools %}<|tool>{% endif %}",
    "function_gemma": "{{ '<start_function_call>call:' + name }}{% if tools %}{% endif %}",
    "kimi_k3": "{{ '<|open|>' + tag }}<|close|><|end_of_msg|>{% if tools %}{% endif %}",
    "minimax_m3": "{% set ns = ']<]minimax[>[' %}{{ ns }}<tool_call>{% if tools %}{% endif %}",
    "hunyuan": "{{ content + '<|extra_0|>' }}{% if tools %}<tool_calls>{% endif %}",
    "hunyuan_v3": "{% set t=':opensource' %}{{ '<tool_sep{}>' }}{% if tools %}{% endif %}",
    "listed": "{% if tools %}write <tool_calls>[{...}]</tool_calls>{% endif %}",
    "lfm2": "{% if tools %}{{ 'List of tools: [' }}{% endif %}<|im_start|>",
    "ernie": "{{ '<response>' + content + '</response>' }}{% if tools %}<tool_call>{% endif %}",
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


@pytest.mark.parametrize(
    ("family", "opening"), [(one, marks[0]) for one, marks in OWN_THINKING.items()]
)
def test_a_family_with_marks_of_its_own_thinks_between_them(family: str, opening: str) -> None:
    found = format_of(TEMPLATES[family] + "<think></think>")

    assert found.thinking is not None
    assert found.thinking[0] == opening


def test_the_thinking_of_kimi_k3_ends_where_its_answer_opens() -> None:
    found = format_of(TEMPLATES["kimi_k3"])

    assert found.thinking_end() == "<|close|>think<|sep|><|open|>response<|sep|>"


def test_nothing_stands_between_a_thinking_and_an_answer_that_is_constrained() -> None:
    found = format_of("<think></think>")

    assert found.thinking_end() == "\n</think>\n\n"
    assert found.thinking_end(is_constrained=True) == "\n</think>"
    assert ChatFormat().thinking_end() == ""


def test_a_model_without_a_template_has_a_plain_format() -> None:
    assert format_of(None) == ChatFormat()


@pytest.mark.parametrize("template", [*TEMPLATES.values(), "<think>", None])
def test_a_format_travels_in_the_facts(template: str | None) -> None:
    assert format_of_facts(format_of(template).facts()) == format_of(template)


def test_facts_of_a_daemon_that_does_not_know_families_are_plain() -> None:
    assert format_of_facts({"name": "m", "chat_family": "new"}) == ChatFormat()
