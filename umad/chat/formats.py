"""Finds a model's family of chat formats from its template. Tables; pure.

A family is one way to write tool calls. Most models share a few marks of thinking, which are chosen
apart from it; some families have their own. docs/chat-families.md lists which models belong where.
Sources: the templates in llama.cpp's models/templates and the models' cards; for harmony
https://cookbook.openai.com/articles/openai-harmony; for Mistral since version 11 mistral-common;
for Hunyuan A13B and ERNIE the parsers of vLLM.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Family = Literal[
    "hermes",
    "llama3",
    "mistral",
    "mistral_args",
    "deepseek",
    "deepseek_v32",
    "deepseek_v4",
    "gemma4",
    "function_gemma",
    "kimi",
    "kimi_k3",
    "granite",
    "nemotron",
    "qwen_coder",
    "glm",
    "hunyuan",
    "hunyuan_v3",
    "listed",
    "lfm2",
    "ernie",
    "minimax",
    "minimax_m3",
    "harmony",
    "plain",
]
FAMILIES: tuple[str, ...] = get_args(Family)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFormat:
    """The chat format of one model."""

    # How the model writes calls; plain: it has no way of its own.
    family: Family = "plain"
    # The (opening, closing) marks of thinking, or None.
    thinking: tuple[str, str] | None = None
    # The template shows tools to the model.
    takes_tools: bool = False

    @property
    def thinks_again(self) -> bool:
        """A reply may think more than once."""
        return self.thinking is not None and self.family in _THINK_AGAIN

    @property
    def answer_opening(self) -> str:
        """The mark that stands between the thinking and the answer; "" for nearly all."""
        return _ANSWER_OPENINGS.get(self.family, "")

    def thinking_end(self, *, is_constrained: bool = False) -> str:
        """The text that ends the thinking, as the templates write it. Nothing that a constraint
        does not know may stand between the end and an answer that is constrained.
        """
        if self.thinking is None:
            return ""
        closing = self.thinking[1]
        if closing == "</think>":
            return f"\n{closing}" if is_constrained else f"\n{closing}\n\n"
        return closing + self.answer_opening

    @property
    def shown(self) -> Family:
        """The family whose form of calls the model has been shown: its own, or plain's where its
        template does not show tools.
        """
        # Harmony is read by its channels, whatever else is written.
        return self.family if self.takes_tools or self.family == "harmony" else "plain"

    def facts(self) -> dict[str, Any]:
        """The format as entries of a model's facts."""
        return {
            "chat_family": self.family,
            "thinking": self.thinking,
            "takes_tools": self.takes_tools,
        }


# A template belongs to the first family for which it has all marks of one row. Harmony's channels
# come first, since others' marks may stand in its comments. A family whose marks are a part of
# another's comes behind it.
_MARKS: tuple[tuple[Family, tuple[str, ...]], ...] = (
    ("harmony", ("<|channel|>",)),
    ("kimi_k3", ("<|open|>", "<|close|>", "<|end_of_msg|>")),
    ("gemma4", ("<|tool_call>call:",)),
    ("function_gemma", ("<start_function_call>",)),
    ("minimax_m3", ("]<]minimax[>[",)),
    # Both versions have the token in a variable of its own. Only the older one names its block so.
    ("deepseek_v32", ("\uff5cDSML\uff5c", "function_calls")),
    ("deepseek_v4", ("\uff5cDSML\uff5c",)),
    ("deepseek", ("<\uff5ctool\u2581calls\u2581begin\uff5c>",)),
    ("deepseek", ("<\uff5cAssistant\uff5c>",)),
    ("mistral_args", ("[TOOL_CALLS]", "[ARGS]")),
    ("mistral", ("[TOOL_CALLS]",)),
    ("mistral", ("[AVAILABLE_TOOLS]",)),
    ("kimi", ("<|tool_calls_section_begin|>",)),
    ("kimi", ("<|im_middle|>",)),
    ("minimax", ("<minimax:tool_call>",)),
    # The marks of this family are made from one word in the template.
    ("hunyuan_v3", ("<tool_sep{}>", ":opensource")),
    ("hunyuan_v3", ("<tool_sep:opensource>",)),
    ("glm", ("<arg_key>",)),
    ("qwen_coder", ("<parameter=",)),
    ("granite", ("<|tool_call|>",)),
    ("nemotron", ("<TOOLCALL>",)),
    ("lfm2", ("<|tool_call_start|>",)),
    ("lfm2", ("<|tool_list_start|>",)),
    ("lfm2", ("List of tools: [",)),
    ("hunyuan", ("<|extra_0|>",)),
    ("hunyuan", ("<tool_calls>", "<answer>")),
    ("listed", ("<tool_calls>",)),
    ("ernie", ("<tool_call>", "<response>")),
    ("hermes", ("<tool_call>",)),
    ("llama3", ("<|start_header_id|>",)),
)
_THINKING = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>"))
# Families with marks of their own, which their templates put together from pieces.
OWN_THINKING: Mapping[Family, tuple[str, str]] = {
    "gemma4": ("<|channel>thought", "<channel|>"),
    "kimi_k3": ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    "minimax_m3": ("<mm:think>", "</mm:think>"),
    "hunyuan_v3": ("<think:opensource>", "</think:opensource>"),
}
# Families whose replies may think again behind some of the answer.
_THINK_AGAIN: frozenset[Family] = frozenset({"gemma4"})
_ANSWER_OPENINGS: Mapping[Family, str] = {"kimi_k3": "<|open|>response<|sep|>"}


def format_of(template: str | None) -> ChatFormat:
    """The format of a Jinja template's source; plain where the template has no known mark."""
    if template is None:
        return ChatFormat()
    family: Family = next(
        (name for name, marks in _MARKS if all(mark in template for mark in marks)), "plain"
    )
    takes_tools = "tools" in template and family != "plain"
    if family == "harmony":
        return ChatFormat(family=family, takes_tools=takes_tools)
    if family in OWN_THINKING:
        return ChatFormat(family=family, thinking=OWN_THINKING[family], takes_tools=takes_tools)
    # Some templates only ever close the thinking: they cut it out of earlier turns.
    thinking = next((marks for marks in _THINKING if marks[1] in template), None)
    if thinking is None and "<think>" in template:
        thinking = _THINKING[0]
    return ChatFormat(family=family, thinking=thinking, takes_tools=takes_tools)


def format_of_facts(facts: Mapping[str, Any]) -> ChatFormat:
    """The format of a model as `models` describes it; plain if an older daemon does not say."""
    family = facts.get("chat_family")
    thinking = facts.get("thinking")
    return ChatFormat(
        family=family if family in FAMILIES else "plain",
        thinking=None if thinking is None else (str(thinking[0]), str(thinking[1])),
        takes_tools=bool(facts.get("takes_tools")),
    )
