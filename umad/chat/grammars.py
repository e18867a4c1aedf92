"""Writes the grammar of forced tool calls, in the form in which the model's family writes calls.

The grammar is Lark in llguidance's dialect.
https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md. Pure.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from umad.chat.calls import DEEPSEEK_END, DEEPSEEK_SEP, KIMI_ARGUMENTS
from umad.chat.formats import ChatFormat
from umad.chat.lark import CALLS, as_lark, json_value
from umad.chat.tagged_grammars import ArgumentTags, tagged_arguments
from umad.conversation import Tool

# In one answer, where calls are made by grammar: bounded for the same reason.
MOST_CALLS = 16

# A mark as Lark: the control token of that text, or the text where the model has none such.
Mark = Callable[[str], str]


def call_grammar(
    format_: ChatFormat, tools: Sequence[Tool], mark: Mark, *, several: bool, or_schema: str = ""
) -> str:
    """A grammar for calls of `tools`: one, or `several`. With `or_schema`, an answer that follows
    this JSON schema is allowed instead.
    """
    rules = _RULES[format_.shown](mark)
    calls = rules.around.format(calls=_calls(rules, several))
    lines = [f"calls: {calls}" if or_schema else f"start: {calls}"]
    if or_schema:
        lines += ["start: calls | answer", f"answer: {json_value(json.loads(or_schema))}"]
    lines.append("one: " + " | ".join(f"call{at}" for at in range(len(tools))))
    for at, tool in enumerate(tools):
        # The name is escaped twice: for the JSON around it, and for the quotes of Lark.
        name = as_lark(tool.name if rules.is_bare else as_lark(tool.name)[1:-1])[1:-1]
        lines.append(f"call{at}: " + rules.call.format(name=name, arguments=f"args{at}"))
        lines += rules.arguments(f"args{at}", tool.parameters)
    return "\n".join(lines) + "\n"


def _json_arguments(rule: str, schema: Mapping[str, Any]) -> list[str]:
    return [f"{rule}: {json_value(schema, CALLS)}"]


@dataclass(frozen=True, slots=True)
class _Rules:
    """The Lark rules of one family's calls."""

    # One call, with places for {name} and {arguments}.
    call: str
    # The text around all calls.
    around: str = "{calls}"
    # The text between two calls; None where there is only ever one.
    between: str | None = None
    # The name is not inside JSON.
    is_bare: bool = False
    # Makes the lines that define the rule of a tool's arguments.
    arguments: Callable[[str, Mapping[str, Any]], list[str]] = _json_arguments


def _calls(rules: _Rules, several: bool) -> str:
    return (
        f"one ({rules.between} one){{0,{MOST_CALLS - 1}}}"
        if several and rules.between is not None
        else "one"
    )


def _hermes(mark: Mark) -> _Rules:
    body = r'"\n{{\"name\": \"{name}\", \"arguments\": " {arguments} "}}\n"'
    return _Rules(f"{mark('<tool_call>')} {body} {mark('</tool_call>')}", between=r'"\n"')


def _llama3(mark: Mark) -> _Rules:
    return _Rules(r'"{{\"name\": \"{name}\", \"parameters\": " {arguments} "}}"', between='"; "')


def _listed(opening: str, closing: str = "") -> _Rules:
    return _Rules(
        r'"{{\"name\": \"{name}\", \"arguments\": " {arguments} "}}"',
        around=f'{opening} "[" {{calls}} "]" {closing}',
        between='", "',
    )


def _mistral(mark: Mark) -> _Rules:
    return _listed(mark("[TOOL_CALLS]"))


def _granite(mark: Mark) -> _Rules:
    return _listed(mark("<|tool_call|>"))


def _nemotron(mark: Mark) -> _Rules:
    return _listed(mark("<TOOLCALL>"), mark("</TOOLCALL>"))


def _deepseek(mark: Mark) -> _Rules:
    begin = mark("<\uff5ctool\u2581call\u2581begin\uff5c>")
    first = mark("<\uff5ctool\u2581calls\u2581begin\uff5c>")
    last = mark("<\uff5ctool\u2581calls\u2581end\uff5c>")
    name = '"{name}\\n```json\\n"'
    call = f'{begin} "function" {mark(DEEPSEEK_SEP)} {name} {{arguments}} "\\n```"'
    return _Rules(
        f"{call} {mark(DEEPSEEK_END)}",
        around=f"{first} {{calls}} {last}",
        between=r'"\n"',
        is_bare=True,
    )


def _kimi(mark: Mark) -> _Rules:
    begin, end = mark("<|tool_call_begin|>"), mark("<|tool_call_end|>")
    first, last = mark("<|tool_calls_section_begin|>"), mark("<|tool_calls_section_end|>")
    name = '"functions.{name}:" /[0-9]{{1,3}}/'
    return _Rules(
        f"{begin} {name} {mark(KIMI_ARGUMENTS)} {{arguments}} {end}",
        around=f"{first} {{calls}} {last}",
        between='""',
        is_bare=True,
    )


def _qwen_coder(mark: Mark) -> _Rules:
    opening, closing = mark("<tool_call>"), mark("</tool_call>")
    tags = ArgumentTags(
        before='"<parameter="', after=r'">\n"', end=r'"\n</parameter>"', behind=r'"\n"'
    )
    return _Rules(
        rf'{opening} "\n<function={{name}}>\n" {{arguments}} "</function>\n" {closing}',
        between=r'"\n"',
        is_bare=True,
        arguments=partial(tagged_arguments, tags),
    )


def _glm(mark: Mark) -> _Rules:
    tags = ArgumentTags(
        before=mark("<arg_key>"),
        after=rf'{mark("</arg_key>")} "\n" {mark("<arg_value>")}',
        end=mark("</arg_value>"),
        behind=r'"\n"',
    )
    return _Rules(
        rf'{mark("<tool_call>")} "{{name}}\n" {{arguments}} {mark("</tool_call>")}',
        between=r'"\n"',
        is_bare=True,
        arguments=partial(tagged_arguments, tags),
    )


def _minimax(mark: Mark) -> _Rules:
    opening, closing = mark("<minimax:tool_call>"), mark("</minimax:tool_call>")
    tags = ArgumentTags(
        before=r'"<parameter name=\""', after=r'"\">"', end='"</parameter>"', behind=r'"\n"'
    )
    return _Rules(
        r'"<invoke name=\"{name}\">\n" {arguments} "</invoke>\n"',
        around=rf'{opening} "\n" {{calls}} {closing}',
        between='""',
        is_bare=True,
        arguments=partial(tagged_arguments, tags),
    )


def _harmony(mark: Mark) -> _Rules:
    channel, message = mark("<|channel|>"), mark("<|message|>")
    end, start, constrain = mark("<|end|>"), mark("<|start|>"), mark("<|constrain|>")
    analysis = f'({channel} "analysis" {message} /(.|\\n)*/ {end} {start} "assistant")?'
    recipient = '"commentary to=functions.{name} "'
    return _Rules(
        f'{channel} {recipient} {constrain} "json" {message} {{arguments}}',
        around=f"{analysis} {{calls}}",
        is_bare=True,
    )


_RULES: dict[str, Callable[[Mark], _Rules]] = {
    # Models without a way of their own are told of Hermes' (`umad.engine.chats.chat_template`).
    "plain": _hermes,
    "hermes": _hermes,
    "llama3": _llama3,
    "mistral": _mistral,
    "deepseek": _deepseek,
    "kimi": _kimi,
    "granite": _granite,
    "nemotron": _nemotron,
    "qwen_coder": _qwen_coder,
    "glm": _glm,
    "minimax": _minimax,
    "harmony": _harmony,
}
