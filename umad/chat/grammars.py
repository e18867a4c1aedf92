"""Writes the grammar of forced tool calls, in the form in which the model's family writes calls.

The grammar is Lark in llguidance's dialect.
https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md. Pure.
"""

import json
from collections.abc import Sequence

from umad.chat.call_rules import RULES, CallRules, Mark
from umad.chat.formats import ChatFormat
from umad.chat.lark import as_lark, json_value
from umad.conversation import Tool

# In one answer, where calls are made by grammar: bounded for the same reason.
MOST_CALLS = 16


def call_grammar(
    format_: ChatFormat, tools: Sequence[Tool], mark: Mark, *, several: bool, or_schema: str = ""
) -> str:
    """A grammar for calls of `tools`: one, or `several`. With `or_schema`, an answer that follows
    this JSON schema is allowed instead.
    """
    rules = RULES[format_.shown](mark)
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


def _calls(rules: CallRules, several: bool) -> str:
    return (
        f"one ({rules.between} one){{0,{MOST_CALLS - 1}}}"
        if several and rules.between is not None
        else "one"
    )
