"""Forced calls: what the grammar lets through, the family's own reader reads back as calls."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from tests.chat.test_reader import summary
from umad import nano
from umad.chat.formats import FAMILIES, ChatFormat, Family
from umad.chat.grammars import call_grammar
from umad.chat.reader import ReplyReader
from umad.conversation import Tool
from umad.engine.constraints.guidance import Guidance
from umad.engine.llamacpp import llama

WEATHER = Tool(
    name="get_weather",
    parameters={
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
        "additionalProperties": False,
    },
)
DSML = "\uff5cDSML\uff5c"
NS = "]<]minimax[>["
# One call as the family writes it.
CALLS: dict[Family, str] = {
    "plain": '<tool_call>\n{"name": "get_weather", "arguments": {"location": "x"}}\n</tool_call>',
    "hermes": '<tool_call>\n{"name": "get_weather", "arguments": {"location": "x"}}\n</tool_call>',
    "llama3": '{"name": "get_weather", "parameters": {"location": "x"}}',
    "mistral": '[TOOL_CALLS][{"name": "get_weather", "arguments": {"location": "x"}}]',
    "deepseek": (
        "<\uff5ctool\u2581calls\u2581begin\uff5c><\uff5ctool\u2581call\u2581begin\uff5c>function"
        "<\uff5ctool\u2581sep\uff5c>get_weather\n```json\n"
        '{"location": "x"}\n```<\uff5ctool\u2581call\u2581end\uff5c>'
        "<\uff5ctool\u2581calls\u2581end\uff5c>"
    ),
    "kimi": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
        '<|tool_call_argument_begin|>{"location": "x"}<|tool_call_end|><|tool_calls_section_end|>'
    ),
    "mistral_args": '[TOOL_CALLS]get_weather[ARGS]{"location": "x"}',
    "deepseek_v32": (
        f'<{DSML}function_calls>\n<{DSML}invoke name="get_weather">\n'
        f'<{DSML}parameter name="location" string="true">x</{DSML}parameter>\n'
        f"</{DSML}invoke>\n</{DSML}function_calls>"
    ),
    "deepseek_v4": (
        f'<{DSML}tool_calls>\n<{DSML}invoke name="get_weather">\n'
        f'<{DSML}parameter name="location" string="true">x</{DSML}parameter>\n'
        f"</{DSML}invoke>\n</{DSML}tool_calls>"
    ),
    "gemma4": '<|tool_call>call:get_weather{location:<|"|>x<|"|>}<tool_call|>',
    "function_gemma": (
        "<start_function_call>call:get_weather{location:<escape>x<escape>}<end_function_call>"
    ),
    "kimi_k3": (
        '<|close|>response<|sep|><|open|>tools<|sep|><|open|>call tool="get_weather" index="1"'
        '<|sep|><|open|>argument key="location" type="string"<|sep|>x<|close|>argument<|sep|>'
        "<|close|>call<|sep|><|close|>tools<|sep|>"
    ),
    "hunyuan": (
        '<tool_calls>[{"name": "get_weather", "arguments": {"location": "x"}}]</tool_calls>'
    ),
    "listed": (
        '<tool_calls>[{"name": "get_weather", "arguments": {"location": "x"}}]</tool_calls>'
    ),
    "hunyuan_v3": (
        "<tool_calls:opensource>\n<tool_call:opensource>get_weather<tool_sep:opensource>\n"
        "<arg_key:opensource>location</arg_key:opensource>\n"
        "<arg_value:opensource>x</arg_value:opensource>\n"
        "</tool_call:opensource>\n</tool_calls:opensource>"
    ),
    "lfm2": '<|tool_call_start|>[get_weather(location="x")]<|tool_call_end|>',
    "ernie": '<tool_call>\n{"name": "get_weather", "arguments": {"location": "x"}}\n</tool_call>',
    "minimax_m3": (
        f'{NS}<tool_call>\n{NS}<invoke name="get_weather">'
        f"{NS}<location>x{NS}</location>{NS}</invoke>\n{NS}</tool_call>"
    ),
    "granite": '<|tool_call|>[{"name": "get_weather", "arguments": {"location": "x"}}]',
    "nemotron": '<TOOLCALL>[{"name": "get_weather", "arguments": {"location": "x"}}]</TOOLCALL>',
    "qwen_coder": (
        "<tool_call>\n<function=get_weather>\n<parameter=location>\nx\n</parameter>\n"
        "</function>\n</tool_call>"
    ),
    "glm": (
        "<tool_call>get_weather\n<arg_key>location</arg_key>\n<arg_value>x</arg_value>\n"
        "</tool_call>"
    ),
    "minimax": (
        '<minimax:tool_call>\n<invoke name="get_weather">\n'
        '<parameter name="location">x</parameter>\n</invoke>\n</minimax:tool_call>'
    ),
    "harmony": (
        "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
        '{"location": "x"}'
    ),
}
llama.start()
GUIDANCE = Guidance(llama.Model(str(nano.path()), vocab_only=True))


def as_text(mark: str) -> str:
    return json.dumps(mark, ensure_ascii=False)


def accepts(lark: str, text: str) -> bool:
    """Byte by byte: the grammar's own word, whatever the tokens."""
    tokens = GUIDANCE._tokens()
    matcher = LLMatcher(tokens, LLMatcher.grammar_from_lark(lark), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    ids = tokens.tokenize_str(text)
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_forced_call_is_one_the_familys_reader_reads(family: Family) -> None:
    format_ = ChatFormat(family=family, takes_tools=True)
    lark = call_grammar(format_, (WEATHER,), as_text, several=False)

    assert accepts(lark, CALLS[family])
    reader = ReplyReader(format_)
    found = summary([*reader.push(CALLS[family]), *reader.finish()])
    assert found["calls"] == [["get_weather", {"location": "x"}]]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_forced_call_is_nothing_else(family: Family) -> None:
    lark = call_grammar(
        ChatFormat(family=family, takes_tools=True), (WEATHER,), as_text, several=False
    )

    assert not accepts(lark, "Sure!")
    assert not accepts(lark, CALLS[family].replace("get_weather", "get_wether"))
    assert not accepts(lark, CALLS[family].replace("location", "loc"))
    assert not accepts(lark, CALLS[family] * 2)


def test_a_model_that_was_told_of_tools_in_hermes_way_is_held_to_it() -> None:
    format_ = ChatFormat(family="deepseek")
    lark = call_grammar(format_, (WEATHER,), as_text, several=False)

    assert accepts(lark, CALLS["hermes"])
    reader = ReplyReader(format_)
    found = summary([*reader.push(CALLS["hermes"]), *reader.finish()])
    assert found["calls"] == [["get_weather", {"location": "x"}]]


def test_several_calls_are_let_through_where_several_may_be() -> None:
    lark = call_grammar(
        ChatFormat(family="hermes", takes_tools=True), (WEATHER,), as_text, several=True
    )

    assert accepts(lark, f"{CALLS['hermes']}\n{CALLS['hermes']}")


def test_an_answer_may_stand_in_a_calls_place() -> None:
    lark = call_grammar(
        ChatFormat(family="hermes", takes_tools=True),
        (WEATHER,),
        as_text,
        several=True,
        or_schema='{"type": "object", "additionalProperties": false}',
    )

    assert accepts(lark, "{}")
    assert accepts(lark, CALLS["hermes"])
    assert not accepts(lark, "{}" + CALLS["hermes"])


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12))
def test_any_name_of_a_tool_is_written_as_json(name: str) -> None:
    tool = Tool(name=name)
    lark = call_grammar(
        ChatFormat(family="hermes", takes_tools=True), (tool,), as_text, several=False
    )
    quoted = json.dumps(name, ensure_ascii=False)

    assert accepts(lark, f'<tool_call>\n{{"name": {quoted}, "arguments": {{}}}}\n</tool_call>')


ORDER = Tool(
    name="order",
    parameters={
        "type": "object",
        "properties": {
            "note": {"type": "string"},
            "size": {"$ref": "#/$defs/Size"},
            "count": {"type": "integer", "maximum": 9},
            "extras": {"type": "array", "items": {"$ref": "#/$defs/Size"}},
        },
        "required": ["note", "count"],
        "$defs": {"Size": {"enum": ["small", "large"]}},
    },
)
TAGGED: tuple[Family, ...] = ("qwen_coder", "glm", "minimax")


def tagged(family: Family, **arguments: str) -> str:
    """A call of `order` in the family's tags."""
    pieces = {
        "qwen_coder": "<parameter={}>\n{}\n</parameter>\n",
        "glm": "<arg_key>{}</arg_key>\n<arg_value>{}</arg_value>\n",
        "minimax": '<parameter name="{}">{}</parameter>\n',
    }
    around = {
        "qwen_coder": "<tool_call>\n<function=order>\n{}</function>\n</tool_call>",
        "glm": "<tool_call>order\n{}</tool_call>",
        "minimax": '<minimax:tool_call>\n<invoke name="order">\n{}</invoke>\n</minimax:tool_call>',
    }
    return around[family].format(
        "".join(pieces[family].format(key, value) for key, value in arguments.items())
    )


@pytest.mark.parametrize("family", TAGGED)
def test_arguments_between_tags_keep_to_their_schema(family: Family) -> None:
    lark = call_grammar(
        ChatFormat(family=family, takes_tools=True), (ORDER,), as_text, several=False
    )
    good = tagged(family, note='a "b"\n</p>', size="large", count="3", extras='["small"]')

    assert accepts(lark, good)
    assert accepts(lark, tagged(family, note="", count="3"))
    assert not accepts(lark, tagged(family, note="a", count="12"))
    assert not accepts(lark, tagged(family, note="a", count="3", extras='["tall"]'))
    assert not accepts(lark, tagged(family, note="a", size="tall", count="3"))
    assert not accepts(lark, tagged(family, note="a"))
    reader = ReplyReader(ChatFormat(family=family, takes_tools=True), tools=[ORDER])
    assert summary([*reader.push(good), *reader.finish()])["calls"] == [
        ["order", {"note": 'a "b"\n</p>', "size": "large", "count": 3, "extras": ["small"]}]
    ]


@pytest.mark.parametrize("family", TAGGED)
def test_a_tool_whose_schema_names_no_arguments_may_be_given_any_or_none(family: Family) -> None:
    lark = call_grammar(
        ChatFormat(family=family, takes_tools=True), (Tool(name="order"),), as_text, several=False
    )
    closed = Tool(name="order", parameters={"type": "object", "additionalProperties": False})
    none = call_grammar(
        ChatFormat(family=family, takes_tools=True), (closed,), as_text, several=False
    )

    assert accepts(lark, tagged(family))
    assert accepts(lark, tagged(family, a="1", b="two"))
    assert accepts(none, tagged(family))
    assert not accepts(none, tagged(family, a="1"))


# The families whose arguments have a notation of their own, and one argument in it.
NOTATIONS: dict[Family, tuple[str, str]] = {
    "gemma4": (
        "<|tool_call>call:order{{{}}}<tool_call|>",
        'note:<|"|>a "b"\n{{c}}<|"|>,size:<|"|>large<|"|>,count:3,extras:[<|"|>small<|"|>]',
    ),
    "function_gemma": (
        "<start_function_call>call:order{{{}}}<end_function_call>",
        (
            'note:<escape>a "b"\n{{c}}<escape>,size:<escape>large<escape>,count:3,'
            "extras:[<escape>small<escape>]"
        ),
    ),
    "lfm2": (
        "<|tool_call_start|>[order({})]<|tool_call_end|>",
        'note="a \\"b\\"\\n{{c}}", size="large", count=3, extras=["small"]',
    ),
    "minimax_m3": (
        f'{NS}<tool_call>\n{NS}<invoke name="order">{{}}{NS}</invoke>\n{NS}</tool_call>',
        (
            f'{NS}<note>a "b"\n{{{{c}}}}{NS}</note>{NS}<size>large{NS}</size>'
            f"{NS}<count>3{NS}</count>{NS}<extras>{NS}<item>small{NS}</item>{NS}</extras>"
        ),
    ),
    "deepseek_v4": (
        (
            f'<{DSML}tool_calls>\n<{DSML}invoke name="order">\n{{}}</{DSML}invoke>\n'
            f"</{DSML}tool_calls>"
        ),
        (
            f'<{DSML}parameter name="note" string="true">a "b"\n{{{{c}}}}</{DSML}parameter>\n'
            f'<{DSML}parameter name="size" string="true">large</{DSML}parameter>\n'
            f'<{DSML}parameter name="count" string="false">3</{DSML}parameter>\n'
            f'<{DSML}parameter name="extras" string="false">["small"]</{DSML}parameter>\n'
        ),
    ),
    "kimi_k3": (
        (
            '<|close|>response<|sep|><|open|>tools<|sep|><|open|>call tool="order" index="1"<|sep|>'
            "{}<|close|>call<|sep|><|close|>tools<|sep|>"
        ),
        (
            '<|open|>argument key="note" type="string"<|sep|>a "b"\n{{c}}<|close|>argument<|sep|>'
            '<|open|>argument key="size" type="string"<|sep|>large<|close|>argument<|sep|>'
            '<|open|>argument key="count" type="number"<|sep|>3<|close|>argument<|sep|>'
            '<|open|>argument key="extras" type="array"<|sep|>["small"]<|close|>argument<|sep|>'
        ),
    ),
}


@pytest.mark.parametrize("family", NOTATIONS)
def test_arguments_in_a_notation_of_their_own_keep_to_their_schema(family: Family) -> None:
    around, arguments = NOTATIONS[family]
    lark = call_grammar(
        ChatFormat(family=family, takes_tools=True), (ORDER,), as_text, several=False
    )
    good = around.format(arguments.format())

    assert accepts(lark, good)
    assert not accepts(lark, good.replace("3", "12"))
    assert not accepts(lark, good.replace("small", "tall"))
    assert not accepts(lark, good.replace("large", "tall"))
    assert not accepts(lark, around.format(""))
    reader = ReplyReader(ChatFormat(family=family, takes_tools=True), tools=[ORDER])
    assert summary([*reader.push(good), *reader.finish()])["calls"] == [
        ["order", {"note": 'a "b"\n{c}', "size": "large", "count": 3, "extras": ["small"]}]
    ]


TREE = Tool(
    name="plant",
    parameters={
        "type": "object",
        "properties": {
            "root": {"$ref": "#/$defs/Node"},
            "odd": {"anyOf": [{"type": "null"}, {"type": "object"}]},
        },
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "nodes": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                },
                "required": ["name"],
            }
        },
    },
)
TREES: dict[Family, tuple[str, ...]] = {
    "gemma4": (
        "<|tool_call>call:plant{}<tool_call|>",
        (
            '<|tool_call>call:plant{root:{name:<|"|>a<|"|>,nodes:[{name:<|"|>b<|"|>},'
            '{name:<|"|>c<|"|>,nodes:[]}]}}<tool_call|>'
        ),
        '<|tool_call>call:plant{odd:{any:[1,{thing:<|"|>x<|"|>}],b:true}}<tool_call|>',
        "<|tool_call>call:plant{odd:null}<tool_call|>",
    ),
    "minimax_m3": (
        (
            f'{NS}<tool_call>\n{NS}<invoke name="plant">{NS}<root>{NS}<name>a{NS}</name>{NS}<nodes>'
            f"{NS}<item>{NS}<name>b{NS}</name>{NS}</item>{NS}</nodes>{NS}</root>{NS}</invoke>\n"
            f"{NS}</tool_call>"
        ),
    ),
    "lfm2": (
        '<|tool_call_start|>[plant(root={"name": "a", "nodes": [{"name": "b"}]})]<|tool_call_end|>',
    ),
}


@pytest.mark.parametrize("family", TREES)
def test_a_schema_that_refers_to_itself_can_be_forced(family: Family) -> None:
    lark = call_grammar(
        ChatFormat(family=family, takes_tools=True), (TREE,), as_text, several=False
    )

    for text in TREES[family]:
        assert accepts(lark, text), text
        reader = ReplyReader(ChatFormat(family=family, takes_tools=True), tools=[TREE])
        assert len(summary([*reader.push(text), *reader.finish()])["calls"]) == 1


@pytest.mark.parametrize("family", ["gemma4", "function_gemma", "mistral_args", "glm"])
def test_several_calls_may_stand_one_behind_the_other(family: Family) -> None:
    format_ = ChatFormat(family=family, takes_tools=True)
    lark = call_grammar(format_, (WEATHER,), as_text, several=True)
    text = CALLS[family] * 2

    assert accepts(lark, text)
    reader = ReplyReader(format_)
    assert len(summary([*reader.push(text), *reader.finish()])["calls"]) == 2


def test_glm_may_write_its_tags_with_no_lines_between_them() -> None:
    lark = call_grammar(
        ChatFormat(family="glm", takes_tools=True), (WEATHER,), as_text, several=False
    )

    assert accepts(lark, CALLS["glm"].replace("\n", ""))
