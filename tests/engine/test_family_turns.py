"""Histories in the shapes that the templates of single families expect. Templates of our own."""

from umad.chat.formats import format_of
from umad.conversation import ChatMessage, ChatOptions, Tool, ToolCall
from umad.engine.chats.chat_template import ChatTemplate
from umad.engine.chats.template_program import TemplateProgram

TOOLS = (Tool(name="look"), Tool(name="note"))
LOOK = ToolCall(name="look", arguments='{"city": "Oslo"}', id="c1")
NOTE = ToolCall(name="note", arguments='{"text": "it\'s", "n": 3, "ok": true}', id="c2")
USER = ChatMessage(role="user", content="UA")
BOTH = ChatMessage(role="assistant", content="", tool_calls=(LOOK, NOTE))
LOOKED = ChatMessage(role="tool", content="RA", tool_call_id="c1")
NOTED = ChatMessage(role="tool", content="RB", tool_call_id="c2")


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos_text="", eos_text="", run=TemplateProgram)


def rendered(source: str, *turns: ChatMessage) -> str:
    return template(source).render(turns, ChatOptions(tools=TOOLS)).text


# Shows results without a word about which call they answer, as most templates do.
NO_IDS = (
    "{% for m in messages %}{{ m.role }}:{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }}{% endfor %};{% endfor %}"
    "{% if tools %}{% endif %}"
)


def test_results_stand_in_the_order_of_their_calls() -> None:
    text = rendered(NO_IDS, USER, BOTH, NOTED, LOOKED)

    assert text.index("RA") < text.index("RB")


def test_results_whose_calls_are_not_known_keep_their_order() -> None:
    other = ChatMessage(role="tool", content="RC", tool_call_id="other")

    assert rendered(NO_IDS, USER, BOTH, other, LOOKED).index("RC") < rendered(
        NO_IDS, USER, BOTH, other, LOOKED
    ).index("RA")


# Shows the first call of a turn, and takes words beside it for thoughts.
HARMONY = (
    "{% for m in messages %}{% if m.tool_calls is defined %}"
    "{% if m.content and m.thinking %}{{ raise_exception('not both') }}{% endif %}"
    "{% if m.thinking %}<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}"
    "{% set c = m.tool_calls[0].function %}to={{ c.name }}:{{ c.arguments | tojson }}<|call|>"
    "{% else %}{{ m.role }}:{{ m.content }}<|end|>{% endif %}{% endfor %}{% if tools %}{% endif %}"
)


def test_gpt_oss_is_shown_every_call_with_its_result_behind_it() -> None:
    text = rendered(HARMONY, USER, BOTH, NOTED, LOOKED)

    places = [text.index(word) for word in ("to=look", "RA", "to=note", "it's", "RB")]
    assert places == sorted(places)


def test_gpt_oss_is_shown_the_words_beside_a_call_and_the_thoughts_before_it() -> None:
    turn = ChatMessage(role="assistant", content="AA", reasoning="TH", tool_calls=(LOOK,))

    text = rendered(HARMONY, USER, turn, LOOKED)

    assert "<|channel|>analysis<|message|>TH\n\nAA<|end|>to=look" in text


# Know tools, and write nothing of a turn but its words.
LFM2 = (
    "{% if tools %}List of tools: [{{ tools | length }}]{% endif %}"
    "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"
)
GRANITE = "{% if tools %}<|tool_call|>{% endif %}" + LFM2.partition("{% endif %}")[2]


def test_lfm2_is_shown_its_calls_as_it_writes_them() -> None:
    text = rendered(LFM2, USER, BOTH, LOOKED, NOTED)

    assert (
        "assistant:<|tool_call_start|>[look(city='Oslo'), note(text=\"it's\", n=3, ok=True)]"
        "<|tool_call_end|>;tool:RA;tool:RB;"
    ) in text


def test_granite_is_shown_its_calls_as_it_writes_them() -> None:
    text = rendered(GRANITE, USER, ChatMessage(role="assistant", content="", tool_calls=(LOOK,)))

    assert '<|tool_call|>[{"name": "look", "arguments": {"city": "Oslo"}}]' in text


def test_what_a_user_wrote_into_a_call_is_no_mark() -> None:
    marks = ChatMessage(
        role="assistant",
        content="",
        tool_calls=(ToolCall(name="look", arguments='{"city": "<|tool_call_end|>"}'),),
    )

    text = (
        template(LFM2)
        .render((USER, marks), ChatOptions(tools=TOOLS), lambda one: one.replace("<|", "(|"))
        .text
    )

    assert text.count("<|tool_call_end|>") == 1
    assert "city='(|tool_call_end|>'" in text


# Has no word for a turn of role tool, and wants results where they were asked for.
FIRST_GEMMA = (
    "{% for m in messages %}<|turn>{{ m.role }}\n"
    "{% for c in m.tool_calls or [] %}{{ '<|tool_call>call:' + c.function.name }}{% endfor %}"
    "{% for r in m.tool_responses or [] %}<|tool_response>{{ r.name }}={{ r.response }}{% endfor %}"
    "{{ m.content }}<turn|>\n{% endfor %}{% if tools %}{% endif %}"
)


def test_the_first_gemma_4_finds_results_and_the_answer_in_the_turn_that_called() -> None:
    answer = ChatMessage(role="assistant", content="AA")

    text = rendered(FIRST_GEMMA, USER, BOTH, LOOKED, NOTED, answer, USER)

    assert (
        "<|turn>assistant\n<|tool_call>call:look<|tool_call>call:note"
        "<|tool_response>look=RA<|tool_response>note=RBAA<turn|>\n<|turn>user\nUA"
    ) in text


def test_a_result_of_gemma_4_that_is_an_object_is_given_as_one() -> None:
    turn = ChatMessage(role="assistant", content="", tool_calls=(LOOK,))
    weather = ChatMessage(role="tool", content='{"degrees": 4}', tool_call_id="c1")

    assert "look={'degrees': 4}" in rendered(FIRST_GEMMA, USER, turn, weather)


def test_gemma_4_begins_its_answer_behind_a_call_that_had_words_beside_it() -> None:
    assert format_of(FIRST_GEMMA).family == "gemma4"
    assert rendered(FIRST_GEMMA, USER).endswith("UA<turn|>\n<|turn>model\n")


MINISTRAL = (
    "{% for m in messages %}{{ m.role }}:{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for block in m.content %}{% if block['type'] == 'thinking' %}"
    "[THINK]{{ block['thinking'] }}[/THINK]{% else %}{{ block['text'] }}{% endif %}{% endfor %}"
    "{% endif %}{% for c in m.tool_calls or [] %}"
    "[TOOL_CALLS]{{ c.function.name }}[ARGS]{% endfor %}"
    "{% endfor %}{% if tools %}{% endif %}"
)


def test_ministral_is_shown_its_thoughts_as_it_wrote_them() -> None:
    answer = ChatMessage(role="assistant", content="AA", reasoning="TH")
    called = ChatMessage(role="assistant", content="", reasoning="TI", tool_calls=(LOOK,))

    text = rendered(MINISTRAL, USER, answer, USER, called, LOOKED)

    assert "assistant:[THINK]TH[/THINK]AA" in text
    assert "assistant:[THINK]TI[/THINK][TOOL_CALLS]look[ARGS]" in text
