import datetime

import pytest

from umad.engine.chat import ChatTemplate
from umad.errors import BadRequest


def template(source: str | None) -> ChatTemplate:
    return ChatTemplate(source, bos_text="<s>", eos_text="</s>")


def test_messages_become_the_prompt_the_template_describes() -> None:
    source = """{{ bos_token }}
{%- for m in messages %}
[{{ m.role }}] {{ m['content'] }}{{ eos_token }}
    {% endfor %}
{%- if add_generation_prompt %}[assistant]{% endif %}"""

    text = template(source).render((("system", "Be brief."), ("user", "1 < 2 & 'x'?")))

    assert text == "<s>[system] Be brief.</s>\n[user] 1 < 2 & 'x'?</s>\n[assistant]"


def test_json_in_a_template_is_json_and_not_html() -> None:
    text = template("{{ messages | tojson }}").render((("user", "<é>"),))

    assert text == '[{"role": "user", "content": "<é>"}]'


def test_today_is_todays_date() -> None:
    text = template("{{ strftime_now('%Y') }}").render((("user", "x"),))

    assert abs(int(text) - datetime.datetime.now().astimezone().year) <= 1


def test_a_model_without_a_template_says_what_to_send_instead() -> None:
    chat = template(None)

    assert not chat.is_usable
    with pytest.raises(BadRequest, match="no chat template; send a prompt") as caught:
        chat.render((("user", "x"),))
    assert caught.value.field == "messages"


def test_what_the_template_itself_refuses_is_a_bad_request_in_its_words() -> None:
    source = "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}"

    with pytest.raises(BadRequest, match="user first"):
        template(source).render((("assistant", "x"),))


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
        template(source).render((("user", "x"),))


def test_a_template_that_cannot_be_parsed_does_not_keep_a_model_from_loading() -> None:
    chat = template("{% for %}")

    with pytest.raises(BadRequest, match="cannot be read"):
        chat.render((("user", "x"),))


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
        template(source).render((("user", "x"),))
