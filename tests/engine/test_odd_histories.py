"""Histories as clients send them, given to templates that refuse half of them."""

from collections.abc import Sequence

import pytest

from tests.engine.strict_templates import GEMMA, MISTRAL, QWEN, STRICT
from umad.conversation import ChatMessage, ChatOptions, Tool, ToolCall
from umad.engine.chats.chat_template import ChatTemplate
from umad.engine.chats.past_calls import arguments_of
from umad.engine.chats.template_program import TemplateProgram
from umad.errors import BadRequest

ID = "call_0123456789abcdef01234567"
LOOK = Tool(name="look", description="Look.", parameters={"type": "object"})


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos_text="<s>", eos_text="</s>", run=TemplateProgram)


def system(text: str) -> ChatMessage:
    return ChatMessage(role="system", content=text)


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def assistant(text: str = "", *calls: ToolCall, reasoning: str | None = None) -> ChatMessage:
    return ChatMessage(role="assistant", content=text, tool_calls=calls, reasoning=reasoning)


def call(arguments: str = '{"city": "Oslo"}', id_: str | None = ID) -> ToolCall:
    return ToolCall(name="look", arguments=arguments, id=id_)


def result(text: str = "RA", id_: str | None = ID) -> ChatMessage:
    return ChatMessage(role="tool", content=text, tool_call_id=id_)


USUAL: dict[str, tuple[ChatMessage, ...]] = {
    "one question": (user("UA"),),
    "a chat": (user("UA"), assistant("AA"), user("UB")),
}
# What was sent, and in words what a client meant by it.
ODD: dict[str, tuple[ChatMessage, ...]] = {
    "a system prompt": (system("SA"), user("UA"), assistant("AA"), user("UB")),
    "two system prompts": (system("SA"), system("SB"), user("UA")),
    "a reminder by the system late in the chat": (user("UA"), assistant("AA"), system("SA")),
    "a reminder by the system before the last question": (
        user("UA"),
        assistant("AA"),
        system("SA"),
        user("UB"),
    ),
    "nothing but a system prompt": (system("SA"),),
    "a question sent again after it failed": (user("UA"), user("UB")),
    "an answer in two turns": (user("UA"), assistant("AA"), assistant("AB"), user("UB")),
    "a greeting by the assistant first": (assistant("AA"), user("UA")),
    "a refused answer kept as an empty turn": (user("UA"), assistant(""), user("UB")),
    "thinking and then nothing": (user("UA"), assistant("", reasoning="RR"), user("UB")),
    "a call and its result": (user("UA"), assistant("", call()), result()),
    "a call, its result, the answer, a question": (
        user("UA"),
        assistant("", call()),
        result(),
        assistant("AA"),
        user("UB"),
    ),
    "two calls in one turn": (
        user("UA"),
        assistant("", call(), call(id_="2")),
        result(),
        result("RB", "2"),
    ),
    "two calls in two turns": (
        user("UA"),
        assistant("", call()),
        assistant("", call(id_="2")),
        result(),
        result("RB", "2"),
    ),
    "a question at once after a result": (
        user("UA"),
        assistant("", call()),
        result(),
        user("UB"),
    ),
    "a call that nobody answered": (user("UA"), assistant("", call()), user("UB")),
    "a result whose call was cut out of the history": (user("UA"), result(), user("UB")),
    "a history that begins with a result": (result(), user("UA")),
    "a result without an id": (user("UA"), assistant("", call()), result(id_=None)),
    "a result of another id": (user("UA"), assistant("", call()), result(id_="other")),
    "a call without an id": (user("UA"), assistant("", call(id_=None)), result(id_=None)),
    "an empty result": (user("UA"), assistant("", call()), result("")),
    "arguments that were cut off": (user("UA"), assistant("", call('{"city": "Oslo')), result()),
    "no arguments at all": (user("UA"), assistant("", call("")), result()),
    "null for arguments": (user("UA"), assistant("", call("null")), result()),
    "a list of arguments": (user("UA"), assistant("", call('["Oslo"]')), result()),
    "a text for arguments": (user("UA"), assistant("", call('"Oslo"')), result()),
    "a number for arguments": (user("UA"), assistant("", call("5")), result()),
    "arguments in words": (user("UA"), assistant("", call("Oslo, please")), result()),
    "a speaker's name": (ChatMessage(role="user", content="UA", name="bob"), user("UB")),
}


def words_of(turns: Sequence[ChatMessage]) -> list[str]:
    said = [turn.content for turn in turns if turn.content]
    called = ["Oslo" for turn in turns for one in turn.tool_calls if "Oslo" in one.arguments]
    names = [one.name for turn in turns for one in turn.tool_calls]
    return said + called + names


@pytest.mark.parametrize("tools", [(), (LOOK,)], ids=["no tools", "tools"])
@pytest.mark.parametrize("family", STRICT)
@pytest.mark.parametrize("meant", [*USUAL, *ODD])
def test_every_history_goes_on_with_all_its_words(
    meant: str, family: str, tools: tuple[Tool, ...]
) -> None:
    turns = {**USUAL, **ODD}[meant]

    text = template(STRICT[family]).render(turns, ChatOptions(tools=tools)).text

    assert [word for word in words_of(turns) if word not in text] == []


@pytest.mark.parametrize("family", [name for name in STRICT if name != "hermes 2"])
@pytest.mark.parametrize("meant", USUAL)
def test_a_usual_history_keeps_its_text_to_the_letter(meant: str, family: str) -> None:
    turns = USUAL[meant]
    values = {
        "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
        "add_generation_prompt": True,
        "tools": None,
        "bos_token": "<s>",
        "eos_token": "</s>",
    }

    assert template(STRICT[family]).render(turns).text == TemplateProgram(STRICT[family]).render(
        values
    )


def test_a_system_prompt_stands_before_the_first_question_where_there_is_no_such_role() -> None:
    text = template(GEMMA).render((system("Be brief."), user("Hi"))).text

    assert text == ("<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model")


def test_a_history_that_grows_keeps_its_prefix() -> None:
    chat = template(MISTRAL)
    begun = (system("SA"), user("UA"), assistant("", call()), result())
    before = chat.render(begun).text

    after = chat.render((*begun, assistant("AA"), user("UB"), assistant("", call()), result())).text

    assert after.startswith(before)


def test_what_no_form_helps_is_refused_by_the_message_at_which_it_is() -> None:
    source = (
        "{% for m in messages %}{% if 'forbidden' in m.content %}"
        "{{ raise_exception('not that word') }}{% endif %}{% endfor %}"
    )
    turns = (user("UA"), assistant("AA"), user("forbidden"), assistant("AB"), user("UB"))

    with pytest.raises(BadRequest, match=r"not that word.*at message 3, of role user") as caught:
        template(source).render(turns)

    assert caught.value.field == "messages"


def test_the_sandbox_holds_in_every_form() -> None:
    source = "{{ messages.append({'role': 'user'}) }}"

    with pytest.raises(BadRequest, match="unsafe"):
        template(source).render((system("SA"), user("UA"), user("UB")))


@pytest.mark.parametrize(
    ("meant", "text", "arguments"),
    [
        ("an object", '{"a": [1, null]}', {"a": [1, None]}),
        ("no arguments", "", {}),
        ("blanks", " \n", {}),
        ("null", "null", {}),
        ("cut in a text", '{"city": "Os', {"raw": '{"city": "Os'}),
        ("cut behind a key", '{"city": ', {"raw": '{"city": '}),
        ("a brace too many", '{"a": 1}}', {"raw": '{"a": 1}}'}),
        ("words", "Oslo, please", {"raw": "Oslo, please"}),
        ("a text", '"Oslo"', {"raw": "Oslo"}),
        ("an object that was encoded twice", '"{\\"a\\": 1}"', {"a": 1}),
        ("a list", '["Oslo"]', {"raw": ["Oslo"]}),
        ("a number", "5", {"raw": 5}),
        ("true", "true", {"raw": True}),
        ("half a character", '{"a": "\\ud83d"}', {"raw": '{"a": "\\ud83d"}'}),
        ("brackets without end", "[" * 100_000, {"raw": "[" * 100_000}),
        ("a number without end", "9" * 10_000, {"raw": "9" * 10_000}),
    ],
    ids=lambda one: one if isinstance(one, str) and len(one) < 40 else "",
)
def test_arguments_are_an_object_whatever_was_written(
    meant: str, text: str, arguments: dict[str, object]
) -> None:
    assert arguments_of(text) == arguments, meant


def test_a_template_that_walks_through_arguments_shows_what_was_cut() -> None:
    turns = (user("UA"), assistant("", call('{"city": "Os')), result())

    text = template(QWEN).render(turns, ChatOptions(tools=(LOOK,))).text

    assert '<parameter=raw>{"city": "Os</parameter>' in text
