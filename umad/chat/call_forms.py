"""Lists each family's marks that begin a call, and the reader for each mark. A table."""

from collections.abc import Mapping
from dataclasses import dataclass

from umad.chat import calls, calls_in_literals, kimi_k3, nested_tags, tagged
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
    # Of the marks above, those that end a thinking which the model forgot to close. Behind a
    # reader's mark this holds only if a call follows, of a tool on offer.
    end_thinking: tuple[str, ...] = ()

    @property
    def marks(self) -> tuple[str, ...]:
        """Every mark that has a meaning."""
        return (*self.readers, *self.dropped)


_HERMES = CallForm(readers={"<tool_call>": calls.hermes}, dropped=("</tool_call>",))
_LISTS = CallForm(readers={"<tool_calls>": calls.listed_lines}, dropped=("</tool_calls>",))
CALL_FORMS: Mapping[Family, CallForm] = {
    # Models whose template knows no tools are told of Hermes' way
    # (`umad.engine.chats.chat_template`).
    "plain": _HERMES,
    "hermes": _HERMES,
    "llama3": CallForm(readers={"<|python_tag|>": calls.llama3}),
    "mistral": CallForm(readers={"[TOOL_CALLS]": calls.mistral}),
    "mistral_args": CallForm(readers={"[TOOL_CALLS]": calls.mistral}),
    "deepseek": CallForm(
        readers={"<\uff5ctool\u2581call\u2581begin\uff5c>": calls.deepseek},
        dropped=(
            calls.DEEPSEEK_END,
            "<\uff5ctool\u2581calls\u2581begin\uff5c>",
            "<\uff5ctool\u2581calls\u2581end\uff5c>",
        ),
    ),
    "deepseek_v32": CallForm(
        readers={f"<{tagged.DSML}function_calls>": tagged.deepseek_v32},
        dropped=(f"</{tagged.DSML}function_calls>",),
        end_thinking=(f"<{tagged.DSML}function_calls>",),
    ),
    "deepseek_v4": CallForm(
        readers={f"<{tagged.DSML}tool_calls>": tagged.deepseek_v4},
        dropped=(f"</{tagged.DSML}tool_calls>",),
        end_thinking=(f"<{tagged.DSML}tool_calls>",),
    ),
    "gemma4": CallForm(
        readers={"<|tool_call>": calls_in_literals.gemma4}, dropped=("<tool_call|>",)
    ),
    "function_gemma": CallForm(
        readers={"<start_function_call>": calls_in_literals.function_gemma},
        dropped=("<end_function_call>",),
    ),
    "kimi": CallForm(
        readers={"<|tool_call_begin|>": calls.kimi},
        dropped=(
            "<|tool_call_end|>",
            "<|tool_calls_section_begin|>",
            "<|tool_calls_section_end|>",
        ),
        end_thinking=("<|tool_call_begin|>", "<|tool_calls_section_begin|>"),
    ),
    "kimi_k3": CallForm(readers={kimi_k3.CALL: kimi_k3.kimi_k3}, dropped=(kimi_k3.CALL_END,)),
    "granite": CallForm(readers={"<|tool_call|>": calls.listed}, dropped=("<|/tool_call|>",)),
    "nemotron": CallForm(readers={"<TOOLCALL>": calls.listed}, dropped=("</TOOLCALL>",)),
    "qwen_coder": CallForm(
        readers={
            "<tool_call>": tagged.qwen_coder,
            "<seed:tool_call>": tagged.qwen_coder,
            "<function=": tagged.bare_function,
        },
        dropped=("</tool_call>", "</seed:tool_call>"),
        end_thinking=("<tool_call>",),
    ),
    "glm": CallForm(readers={"<tool_call>": tagged.glm}, dropped=("</tool_call>",)),
    "hunyuan": _LISTS,
    "hunyuan_v3": CallForm(
        readers={f"<tool_call{tagged.HUNYUAN_SUFFIX}>": tagged.hunyuan_v3},
        dropped=(
            f"</tool_call{tagged.HUNYUAN_SUFFIX}>",
            f"<tool_calls{tagged.HUNYUAN_SUFFIX}>",
            f"</tool_calls{tagged.HUNYUAN_SUFFIX}>",
        ),
    ),
    "listed": _LISTS,
    "lfm2": CallForm(
        readers={"<|tool_call_start|>": calls_in_literals.lfm2}, dropped=("<|tool_call_end|>",)
    ),
    "ernie": _HERMES,
    "minimax": CallForm(
        readers={"<minimax:tool_call>": tagged.minimax}, dropped=("</minimax:tool_call>",)
    ),
    "minimax_m3": CallForm(
        readers={f"{nested_tags.TOKEN}<tool_call>": nested_tags.minimax_m3},
        dropped=(f"{nested_tags.TOKEN}</tool_call>",),
    ),
}
# Marks that lay out a reply, whether it may have calls or not. They are removed.
LAYOUT: Mapping[Family, tuple[str, ...]] = {
    "gemma4": ("<|channel>",),
    "kimi_k3": (
        "<|open|>response<|sep|>",
        "<|close|>response<|sep|>",
        "<|open|>tools<|sep|>",
        "<|close|>tools<|sep|>",
        "<|close|>message<|sep|>",
        "<|end_of_msg|>",
    ),
    "ernie": ("<response>", "</response>"),
}
# Ordinary words around the whole answer. Elsewhere they belong to it.
AROUND: Mapping[Family, tuple[str, str]] = {
    "hunyuan": ("<answer>", "</answer>"),
    "granite": ("<response>", "</response>"),
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
        end_thinking=own.end_thinking,
    )


# Llama 3 writes most calls without its mark; only the beginning of a reply can be one.
BARE: Mapping[Family, CallReader] = {"llama3": calls.llama3}
