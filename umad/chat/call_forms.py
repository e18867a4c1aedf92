"""Lists each family's marks that begin a call, and the reader for each mark. A table."""

from collections.abc import Mapping
from dataclasses import dataclass

from umad.chat import calls, tagged
from umad.chat.call_run import CallReader
from umad.chat.fenced import FENCE
from umad.chat.fenced import fenced as read_fenced
from umad.chat.formats import ChatFormat, Family


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForm:
    """How one family writes its calls."""

    # The reader of the text behind each mark.
    readers: Mapping[str, CallReader]
    # Marks that are removed and leave nothing.
    dropped: tuple[str, ...] = ()

    @property
    def marks(self) -> tuple[str, ...]:
        """Every mark that has a meaning."""
        return (*self.readers, *self.dropped)


_HERMES = CallForm(readers={"<tool_call>": calls.hermes}, dropped=("</tool_call>",))
CALL_FORMS: Mapping[Family, CallForm] = {
    # Models whose template knows no tools are told of Hermes' way
    # (`umad.engine.chats.chat_template`).
    "plain": _HERMES,
    "hermes": _HERMES,
    "llama3": CallForm(readers={"<|python_tag|>": calls.llama3}),
    "mistral": CallForm(readers={"[TOOL_CALLS]": calls.mistral}),
    "deepseek": CallForm(
        readers={"<\uff5ctool\u2581call\u2581begin\uff5c>": calls.deepseek},
        dropped=(
            calls.DEEPSEEK_END,
            "<\uff5ctool\u2581calls\u2581begin\uff5c>",
            "<\uff5ctool\u2581calls\u2581end\uff5c>",
        ),
    ),
    "kimi": CallForm(
        readers={"<|tool_call_begin|>": calls.kimi},
        dropped=(
            "<|tool_call_end|>",
            "<|tool_calls_section_begin|>",
            "<|tool_calls_section_end|>",
        ),
    ),
    "granite": CallForm(readers={"<|tool_call|>": calls.listed}, dropped=("<|/tool_call|>",)),
    "nemotron": CallForm(readers={"<TOOLCALL>": calls.listed}, dropped=("</TOOLCALL>",)),
    "qwen_coder": CallForm(
        readers={
            "<tool_call>": tagged.qwen_coder,
            "<seed:tool_call>": tagged.qwen_coder,
            "<function=": tagged.bare_function,
        },
        dropped=("</tool_call>", "</seed:tool_call>"),
    ),
    "glm": CallForm(readers={"<tool_call>": tagged.glm}, dropped=("</tool_call>",)),
    "minimax": CallForm(readers={"<minimax:tool_call>": tagged.minimax}),
}


def call_form(format_: ChatFormat, *, fenced: bool = False) -> CallForm | None:
    """How calls of this format are read; None for harmony, where they are messages. `fenced`:
    blocks of JSON may be calls, too.

    A model that was shown another family's way may still know its own.
    """
    own = CALL_FORMS.get(format_.family)
    if own is None or (format_.shown == format_.family and not fenced):
        return own
    shown = CALL_FORMS[format_.shown]
    blocks = {FENCE: read_fenced} if fenced else {}
    return CallForm(
        readers={**shown.readers, **own.readers, **blocks},
        dropped=tuple(dict.fromkeys((*shown.dropped, *own.dropped))),
    )


# Llama 3 writes most calls without its mark; only the beginning of a reply can be one.
BARE: Mapping[Family, CallReader] = {"llama3": calls.llama3}
