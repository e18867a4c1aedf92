import datetime
import json

import pytest

from umad.conversation import ChatMessage, ChatOptions, Tool, ToolCall
from umad.engine.chats.chat_template import ChatTemplate
from umad.engine.chats.template_program import TemplateProgram
from umad.errors import BadRequest


def template(source: str | None) -> ChatTemplate:
    return ChatTemplate(source, bos_text="<s>", eos_text="</s>", run=TemplateProgram)


def turns(*pairs: tuple[str, str]) -> tuple[ChatMessage, ...]:
    return tuple(ChatMessage(role=role, content=content) for role, content in pairs)


def test_messages_become_the_prompt_the_template_describes() -> None:
    source = """{{ bos_token }}
{%- for m in messages %}
[{{ m.role }}] {{ m['content'] }}{{ eos_token }}
    {% endfor %}
{%- if add_generation_prompt %}[assistant]{% endif %}"""

    text = template(source).render(turns(("system", "Be brief."), ("user", "1 < 2 & 'x'?"))).text

    assert text == "<s>[system] Be brief.</s>\n[user] 1 < 2 & 'x'?</s>\n[assistant]"


def test_json_in_a_template_is_json_and_not_html() -> None:
    text = template("{{ messages | tojson }}").render(turns(("user", "<é>"))).text

    assert text == '[{"role": "user", "content": "<é>"}]'


def test_today_is_todays_date() -> None:
    text = template("{{ strftime_now('%Y') }}").render(turns(("user", "x"))).text

    assert abs(int(text) - datetime.datetime.now().astimezone().year) <= 1


def test_a_model_without_a_template_says_what_to_send_instead() -> None:
    chat = template(None)

    with pytest.raises(BadRequest, match="no chat template; send a prompt") as caught:
        chat.render(turns(("user", "x")))
    assert caught.value.field == "messages"


def test_what_the_template_itself_refuses_is_a_bad_request_in_its_words() -> None:
    source = "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}"

    with pytest.raises(BadRequest, match="user first"):
        template(source).render(turns(("assistant", "x")))


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[5].content }}{{ messages[5].content.x }}",
        "{{ messages[0].content / 2 }}",
        "{{ messages[0].content + 1 }}",
        "{{ 1 / 0 }}",
    ],
)
def test_a_template_that_stumbles_is_a_bad_request_and_no_crash(source: str) -> None:
    with pytest.raises(BadRequest):
        template(source).render(turns(("user", "x")))


def test_a_template_that_cannot_be_parsed_does_not_keep_a_model_from_loading() -> None:
    chat = template("{% for %}")

    with pytest.raises(BadRequest, match="cannot be read"):
        chat.render(turns(("user", "x")))


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ raise_exception.__globals__.os }}",
        "{{ messages.append({'role': 'user'}) }}",
        "{{ ''.__class__.__base__ }}",
    ],
)
def test_a_hostile_template_stays_in_its_sandbox(source: str) -> None:
    with pytest.raises(BadRequest):
        template(source).render(turns(("user", "x")))


QWEN_LIKE = (
    "{% if tools %}T{{ tools | tojson }}{{ '\\n' }}{% endif %}"
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.reasoning_content is defined %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content }}"
    "{% for c in m.tool_calls or [] %}"
    "<tool_call>{{ c.function.name }}:{{ c.function.arguments.x }}</tool_call>{% endfor %}"
    "{{ '\\n' }}"
    "{% endfor %}<assistant>"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)
OPENING = "{% for m in messages %}{{ m.content }}{% endfor %}<think>\n{# </think> #}"
WEATHER = Tool(name="weather", description="of a town", parameters={"type": "object"})


def test_a_template_sees_tools_calls_and_their_arguments_as_hugging_face_gives_them() -> None:
    call = ToolCall(name="weather", arguments='{"x": 5}', id="c")
    asked = ChatMessage(role="assistant", content="", tool_calls=(call,), reasoning="Hm.")
    options = ChatOptions(tools=(WEATHER,))

    text = template(QWEN_LIKE).render((asked,), options).text

    tools, turn, *_ = text.splitlines()
    assert json.loads(tools.removeprefix("T")) == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "of a town",
                "parameters": {"type": "object"},
            },
        }
    ]
    assert turn == "<assistant><think>Hm.</think><tool_call>weather:5</tool_call>"


def test_a_template_that_adds_arguments_up_as_text_gets_text() -> None:
    source = "{% for m in messages %}{{ 'A' + m.tool_calls[0].function.arguments }}{% endfor %}"
    call = ToolCall(name="f", arguments='{"x": 5}')
    turn = ChatMessage(role="assistant", content="", tool_calls=(call,))

    assert template(source).render((turn,)).text == 'A{"x": 5}'


def test_kimis_calls_go_by_their_names_and_numbers() -> None:
    source = (
        "{% for m in messages %}{% for c in m.tool_calls or [] %}[{{ c.id }}]{% endfor %}"
        "{% if m.role == 'tool' %}({{ m.tool_call_id }}){% endif %}{% endfor %}<|im_middle|>"
    )
    calls = (ToolCall(name="look", id="call_1"), ToolCall(name="look", id="call_2"))
    chat = (
        ChatMessage(role="assistant", content="", tool_calls=calls),
        ChatMessage(role="tool", content="a", tool_call_id="call_2"),
        ChatMessage(role="tool", content="b", tool_call_id="call_1"),
        ChatMessage(role="assistant", content="", tool_calls=(ToolCall(name="ask"),)),
    )

    text = template(source).render(chat).text

    assert text == (
        "[functions.look:0][functions.look:1](functions.look:1)(functions.look:0)"
        "[functions.ask:2]<|im_middle|>"
    )


def test_tools_are_hidden_where_no_call_is_wanted() -> None:
    options = ChatOptions(tools=(WEATHER,), tool_choice="none")

    assert "weather" not in template(QWEN_LIKE).render(turns(("user", "x")), options).text


def test_thinking_is_as_the_template_makes_it() -> None:
    free = template(QWEN_LIKE).render(turns(("user", "x")))
    without = ChatOptions(template_kwargs={"enable_thinking": False})
    closed = template(QWEN_LIKE).render(turns(("user", "x")), without)
    opened = template(OPENING).render(turns(("user", "x")))

    assert (free.opened, free.may_think) == ("", True)
    assert (closed.opened, closed.may_think) == ("", False)
    assert (opened.opened, opened.may_think) == ("<think>\n", True)


def test_an_answer_that_is_begun_goes_on_behind_its_last_character() -> None:
    begun = ChatMessage(role="assistant", content="Once upon")
    options = ChatOptions(continue_final=True)

    rendered = template(QWEN_LIKE).render((*turns(("user", "x")), begun), options)

    assert rendered.text == "<user>x\n<assistant>Once upon"
    assert not rendered.may_think


def test_an_answer_begun_in_its_thinking_goes_on_thinking() -> None:
    options = ChatOptions(continue_final=True)
    begun = ChatMessage(role="assistant", content="", reasoning="First")
    done = ChatMessage(role="assistant", content="Yes", reasoning="First")

    thinking = template(OPENING).render((begun,), options)
    answering = template(OPENING).render((done,), options)

    assert (thinking.text, thinking.opened) == ("<think>\nFirst", "<think>\n")
    assert (answering.text, answering.opened) == ("<think>\nFirst\n</think>\n\nYes", "")


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10**9 }}",
        "{{ 10**9 * [1] }}",
        "{{ 2 ** (10**9) }}",
        "{% for i in range(999) %}{{ 'x' * 99999 }}{% endfor %}",
    ],
)
def test_a_template_cannot_make_more_than_any_prompt_needs(source: str) -> None:
    with pytest.raises(BadRequest):
        template(source).render(turns(("user", "x")))
