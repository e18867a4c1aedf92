"""Lists how each family writes forced calls, as Lark. A table; `grammars` makes grammars of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from umad.chat.argument_types import TEXT, Types
from umad.chat.calls import DEEPSEEK_END, DEEPSEEK_SEP, KIMI_ARGUMENTS
from umad.chat.calls_in_literals import FUNCTION_GEMMA_QUOTE, GEMMA_QUOTE
from umad.chat.formats import Family
from umad.chat.kimi_k3 import CLOSE, OPEN, SEP
from umad.chat.lark import CALLS, json_value
from umad.chat.nested_tags import TOKEN
from umad.chat.tagged import DSML, HUNYUAN_SEP, HUNYUAN_SUFFIX
from umad.chat.tagged_grammars import ArgumentTags, tagged_arguments
from umad.chat.value_grammars import marked_arguments, nested_arguments, python_arguments

# A mark as Lark: the control token of that text, or the text where the model has none such.
Mark = Callable[[str], str]


def _json_arguments(rule: str, schema: Mapping[str, Any]) -> list[str]:
    return [f"{rule}: {json_value(schema, CALLS)}"]


@dataclass(frozen=True, slots=True)
class CallRules:
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


def _hermes(mark: Mark) -> CallRules:
    body = r'"\n{{\"name\": \"{name}\", \"arguments\": " {arguments} "}}\n"'
    return CallRules(f"{mark('<tool_call>')} {body} {mark('</tool_call>')}", between=r'"\n"')


def _llama3(mark: Mark) -> CallRules:
    return CallRules(r'"{{\"name\": \"{name}\", \"parameters\": " {arguments} "}}"', between='"; "')


def _listed(opening: str, closing: str = "") -> CallRules:
    return CallRules(
        r'"{{\"name\": \"{name}\", \"arguments\": " {arguments} "}}"',
        around=f'{opening} "[" {{calls}} "]" {closing}',
        between='", "',
    )


def _mistral(mark: Mark) -> CallRules:
    return _listed(mark("[TOOL_CALLS]"))


def _granite(mark: Mark) -> CallRules:
    return _listed(mark("<|tool_call|>"))


def _nemotron(mark: Mark) -> CallRules:
    return _listed(mark("<TOOLCALL>"), mark("</TOOLCALL>"))


def _deepseek(mark: Mark) -> CallRules:
    begin = mark("<\uff5ctool\u2581call\u2581begin\uff5c>")
    first = mark("<\uff5ctool\u2581calls\u2581begin\uff5c>")
    last = mark("<\uff5ctool\u2581calls\u2581end\uff5c>")
    name = '"{name}\\n```json\\n"'
    call = f'{begin} "function" {mark(DEEPSEEK_SEP)} {name} {{arguments}} "\\n```"'
    return CallRules(
        f"{call} {mark(DEEPSEEK_END)}",
        around=f"{first} {{calls}} {last}",
        between=r'"\n"',
        is_bare=True,
    )


def _kimi(mark: Mark) -> CallRules:
    begin, end = mark("<|tool_call_begin|>"), mark("<|tool_call_end|>")
    first, last = mark("<|tool_calls_section_begin|>"), mark("<|tool_calls_section_end|>")
    name = '"functions.{name}:" /[0-9]{{1,3}}/'
    return CallRules(
        f"{begin} {name} {mark(KIMI_ARGUMENTS)} {{arguments}} {end}",
        around=f"{first} {{calls}} {last}",
        between='""',
        is_bare=True,
    )


def _qwen_coder(mark: Mark) -> CallRules:
    opening, closing = mark("<tool_call>"), mark("</tool_call>")
    tags = ArgumentTags(
        before='"<parameter="', after=r'">\n"', end=r'"\n</parameter>"', behind=r'"\n"'
    )
    return CallRules(
        rf'{opening} "\n<function={{name}}>\n" {{arguments}} "</function>\n" {closing}',
        between=r'"\n"',
        is_bare=True,
        arguments=partial(tagged_arguments, tags),
    )


def _glm(mark: Mark) -> CallRules:
    tags = ArgumentTags(
        before=mark("<arg_key>"),
        # Version 4.7 writes no lines.
        after=rf'{mark("</arg_key>")} "\n"? {mark("<arg_value>")}',
        end=mark("</arg_value>"),
        behind=r'"\n"?',
    )
    return CallRules(
        rf'{mark("<tool_call>")} "{{name}}" "\n"? {{arguments}} {mark("</tool_call>")}',
        between=r'"\n"?',
        is_bare=True,
        arguments=partial(tagged_arguments, tags),
    )


def _minimax(mark: Mark) -> CallRules:
    opening, closing = mark("<minimax:tool_call>"), mark("</minimax:tool_call>")
    tags = ArgumentTags(
        before=r'"<parameter name=\""', after=r'"\">"', end='"</parameter>"', behind=r'"\n"'
    )
    return CallRules(
        r'"<invoke name=\"{name}\">\n" {arguments} "</invoke>\n"',
        around=rf'{opening} "\n" {{calls}} {closing}',
        between='""',
        is_bare=True,
        arguments=partial(tagged_arguments, tags),
    )


def _harmony(mark: Mark) -> CallRules:
    channel, message = mark("<|channel|>"), mark("<|message|>")
    end, start, constrain = mark("<|end|>"), mark("<|start|>"), mark("<|constrain|>")
    analysis = f'({channel} "analysis" {message} /(.|\\n)*/ {end} {start} "assistant")?'
    recipient = '"commentary to=functions.{name} "'
    return CallRules(
        f'{channel} {recipient} {constrain} "json" {message} {{arguments}}',
        around=f"{analysis} {{calls}}",
        is_bare=True,
    )


def _mistral_args(mark: Mark) -> CallRules:
    return CallRules(
        f'{mark("[TOOL_CALLS]")} "{{name}}" {mark("[ARGS]")} {{arguments}}',
        between='""',
        is_bare=True,
    )


def _lists(mark: Mark) -> CallRules:
    return _listed(mark("<tool_calls>"), mark("</tool_calls>"))


def _hunyuan_v3(mark: Mark) -> CallRules:
    def tag(name: str) -> str:
        return mark(f"<{name}{HUNYUAN_SUFFIX}>")

    tags = ArgumentTags(
        before=tag("arg_key"),
        after=rf'{tag("/arg_key")} "\n" {tag("arg_value")}',
        end=tag("/arg_value"),
        behind=r'"\n"',
    )
    return CallRules(
        rf'{tag("tool_call")} "{{name}}" {mark(HUNYUAN_SEP)} "\n" {{arguments}} '
        rf'{tag("/tool_call")} "\n"',
        around=rf'{tag("tool_calls")} "\n" {{calls}} {tag("/tool_calls")}',
        between='""',
        is_bare=True,
        arguments=partial(tagged_arguments, tags),
    )


def _deepseek_tagged(mark: Mark, *, block: str) -> CallRules:
    # The token in the tags is an ordinary one, so all of a tag is text.
    tags = ArgumentTags(
        before=rf'"<{DSML}parameter name=\""',
        after=lambda types: rf'"\" string=\"{"true" if "string" in types else "false"}\">"',
        end=f'"</{DSML}parameter>"',
        behind=r'"\n"',
    )
    return CallRules(
        rf'"<{DSML}invoke name=\"{{name}}\">\n" {{arguments}} "</{DSML}invoke>\n"',
        around=rf'"<{DSML}{block}>\n" {{calls}} "</{DSML}{block}>"',
        between='""',
        is_bare=True,
        arguments=partial(tagged_arguments, tags),
    )


# Kimi K3's names of types.
_K3_TYPES = {"integer": "number"}


def _kimi_k3(mark: Mark) -> CallRules:
    opening, closing, sep = mark(OPEN), mark(CLOSE), mark(SEP)

    def after(types: Types) -> str:
        names = {"string"} if types & TEXT else {_K3_TYPES.get(one, one) for one in types}
        choices = " | ".join(f'"{name}"' for name in sorted(names))
        return rf'"\" type=\"" ({choices}) "\"" {sep}'

    tags = ArgumentTags(
        before=rf'{opening} "argument key=\""',
        after=after,
        end=closing,
        behind=f'"argument" {sep}',
    )
    # The prompt, or the end of the thinking, has opened the response.
    before = f'{closing} "response" {sep} {opening} "tools" {sep}'
    return CallRules(
        rf'{opening} "call tool=\"{{name}}\" index=\"" /[0-9]{{{{1,3}}}}/ "\"" {sep} '
        rf'{{arguments}} {closing} "call" {sep}',
        around=f'{before} {{calls}} {closing} "tools" {sep}',
        between='""',
        is_bare=True,
        arguments=partial(tagged_arguments, tags),
    )


def _gemma4(mark: Mark) -> CallRules:
    return CallRules(
        f'{mark("<|tool_call>")} "call:{{name}}" {{arguments}} {mark("<tool_call|>")}',
        between='""',
        is_bare=True,
        arguments=partial(marked_arguments, mark(GEMMA_QUOTE)),
    )


def _function_gemma(mark: Mark) -> CallRules:
    opening, closing = mark("<start_function_call>"), mark("<end_function_call>")
    return CallRules(
        f'{opening} "call:{{name}}" {{arguments}} {closing}',
        between='""',
        is_bare=True,
        arguments=partial(marked_arguments, mark(FUNCTION_GEMMA_QUOTE)),
    )


def _lfm2(mark: Mark) -> CallRules:
    return CallRules(
        '"{name}(" {arguments} ")"',
        around=f'{mark("<|tool_call_start|>")} "[" {{calls}} "]" {mark("<|tool_call_end|>")}',
        between='", "',
        is_bare=True,
        arguments=python_arguments,
    )


def _minimax_m3(mark: Mark) -> CallRules:
    token = mark(TOKEN)
    return CallRules(
        rf'{token} "<invoke name=\"{{name}}\">" {{arguments}} {token} "</invoke>\n"',
        around=rf'{token} "<tool_call>\n" {{calls}} {token} "</tool_call>"',
        between='""',
        is_bare=True,
        arguments=partial(nested_arguments, token),
    )


RULES: Mapping[Family, Callable[[Mark], CallRules]] = {
    # Models without a way of their own are told of Hermes' (`umad.engine.chats.chat_template`).
    "plain": _hermes,
    "hermes": _hermes,
    "llama3": _llama3,
    "mistral": _mistral,
    "mistral_args": _mistral_args,
    "deepseek": _deepseek,
    "deepseek_v32": partial(_deepseek_tagged, block="function_calls"),
    "deepseek_v4": partial(_deepseek_tagged, block="tool_calls"),
    "gemma4": _gemma4,
    "function_gemma": _function_gemma,
    "kimi": _kimi,
    "kimi_k3": _kimi_k3,
    "granite": _granite,
    "nemotron": _nemotron,
    "qwen_coder": _qwen_coder,
    "glm": _glm,
    "hunyuan": _lists,
    "hunyuan_v3": _hunyuan_v3,
    "listed": _lists,
    "lfm2": _lfm2,
    "ernie": _hermes,
    "minimax": _minimax,
    "minimax_m3": _minimax_m3,
    "harmony": _harmony,
}
