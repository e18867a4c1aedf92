"""Finds a model's family of chat formats from its template. Tables; pure.

A family is one way to write tool calls; the marks of thinking are chosen apart from it.
Sources: the templates in llama.cpp's models/templates and the models' cards; for harmony
https://cookbook.openai.com/articles/openai-harmony.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Family = Literal[
    "hermes",
    "llama3",
    "mistral",
    "deepseek",
    "kimi",
    "granite",
    "nemotron",
    "qwen_coder",
    "glm",
    "minimax",
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


# A template belongs to the first family of which it has a mark; harmony's channels come first,
# since others' marks may stand in its comments, and Hermes' mark last, since others begin with it.
_MARKS: tuple[tuple[Family, tuple[str, ...]], ...] = (
    ("harmony", ("<|channel|>",)),
    ("deepseek", ("<\uff5ctool\u2581calls\u2581begin\uff5c>", "<\uff5cAssistant\uff5c>")),
    ("mistral", ("[TOOL_CALLS]", "[AVAILABLE_TOOLS]")),
    ("kimi", ("<|tool_calls_section_begin|>", "<|im_middle|>")),
    ("minimax", ("<minimax:tool_call>",)),
    ("glm", ("<arg_key>",)),
    ("qwen_coder", ("<parameter=",)),
    ("granite", ("<|tool_call|>",)),
    ("nemotron", ("<TOOLCALL>",)),
    ("hermes", ("<tool_call>",)),
    ("llama3", ("<|start_header_id|>",)),
)
_THINKING = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>"))


def format_of(template: str | None) -> ChatFormat:
    """The format of a Jinja template's source; plain where the template has no known mark."""
    if template is None:
        return ChatFormat()
    family: Family = next(
        (name for name, marks in _MARKS if any(mark in template for mark in marks)), "plain"
    )
    takes_tools = "tools" in template and family != "plain"
    if family == "harmony":
        return ChatFormat(family=family, takes_tools=takes_tools)
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
