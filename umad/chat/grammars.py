"""A tool call as a Lark grammar in llguidance's dialect, written the way the family writes calls.

https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md. Pure.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from umad.chat.calls import DEEPSEEK_END, DEEPSEEK_SEP
from umad.chat.formats import ChatFormat
from umad.conversation import Tool

# Between the parts of JSON. Bounded: a weak model that may write spaces does so for ever.
JSON_WHITESPACE = r"[ \n\r\t]{1,24}"

# In one answer, where calls are made by grammar: bounded for the same reason.
MOST_CALLS = 16

# A mark as Lark: the control token of that text, or the text where the model has none such.
Mark = Callable[[str], str]


def call_grammar(
    format_: ChatFormat, tools: Sequence[Tool], mark: Mark, *, several: bool, or_schema: str = ""
) -> str:
    """Calls of `tools`: one, or `several`; or an answer of the JSON schema `or_schema` instead."""
    rules = _RULES[format_.family](mark)
    calls = rules.around.format(calls=_calls(rules, several))
    lines = [f"calls: {calls}" if or_schema else f"start: {calls}"]
    if or_schema:
        lines += ["start: calls | answer", f"answer: %json {_schema(json.loads(or_schema))}"]
    lines.append("one: " + " | ".join(f"call{at}" for at in range(len(tools))))
    for at, tool in enumerate(tools):
        # Once more for JSON around it, once for the quotes of Lark.
        name = _text(_text(tool.name)[1:-1])[1:-1]
        lines.append(f"call{at}: " + rules.call.format(name=name, arguments=f"args{at}"))
        lines.append(f"args{at}: %json {_schema(tool.parameters)}")
    return "\n".join(lines) + "\n"


def _schema(schema: Mapping[str, Any]) -> str:
    spaced = {"x-guidance": {"whitespace_pattern": JSON_WHITESPACE}, **schema}
    return json.dumps(spaced, ensure_ascii=False)


class _Rules:
    """around: what stands around all calls; call: one, of {name} and {arguments}; between: what
    stands between two, None where there is only ever one."""

    def __init__(self, call: str, *, around: str = "{calls}", between: str | None = None) -> None:
        self.call = call
        self.around = around
        self.between = between


def _calls(rules: _Rules, several: bool) -> str:
    return (
        f"one ({rules.between} one){{0,{MOST_CALLS - 1}}}"
        if several and rules.between is not None
        else "one"
    )


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _hermes(mark: Mark) -> _Rules:
    body = r'"\n{{\"name\": \"{name}\", \"arguments\": " {arguments} "}}\n"'
    return _Rules(f"{mark('<tool_call>')} {body} {mark('</tool_call>')}", between=r'"\n"')


def _llama3(mark: Mark) -> _Rules:
    return _Rules(r'"{{\"name\": \"{name}\", \"parameters\": " {arguments} "}}"', between='"; "')


def _mistral(mark: Mark) -> _Rules:
    return _Rules(
        r'"{{\"name\": \"{name}\", \"arguments\": " {arguments} "}}"',
        around=f'{mark("[TOOL_CALLS]")} "[" {{calls}} "]"',
        between='", "',
    )


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
    )


def _harmony(mark: Mark) -> _Rules:
    channel, message = mark("<|channel|>"), mark("<|message|>")
    end, start, constrain = mark("<|end|>"), mark("<|start|>"), mark("<|constrain|>")
    analysis = f'({channel} "analysis" {message} /(.|\\n)*/ {end} {start} "assistant")?'
    recipient = '"commentary to=functions.{name} "'
    return _Rules(
        f'{channel} {recipient} {constrain} "json" {message} {{arguments}}',
        around=f"{analysis} {{calls}}",
    )


_RULES: dict[str, Callable[[Mark], _Rules]] = {
    # Models without a way of their own are told of Hermes' (`umad.engine.chat`).
    "plain": _hermes,
    "hermes": _hermes,
    "llama3": _llama3,
    "mistral": _mistral,
    "deepseek": _deepseek,
    "harmony": _harmony,
}
