"""Describes the body of POST /v1/completions.

https://platform.openai.com/docs/api-reference/completions/create
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from umad.errors import BadRequest
from umad.gateway.bodies.openai_chat import StreamOptions
from umad.gateway.bodies.sampling import SamplingFields
from umad.gateway.bodies.values import Alternatives, AnyLimit, Flag, Whole
from umad.gateway.marked_prompts import DATA, STRING, MarkedPrompt, marked_prompt

MAX_PROMPTS = 64
# One prompt: a text, token ids, or a text with images and sounds.
OnePrompt = str | tuple[int, ...] | MarkedPrompt


class CompletionBody(SamplingFields):
    """The whole body. `prompt` is a text, a list of texts, token ids, a list of lists of token ids,
    or llama-server's object with images and sounds. A `max_tokens` of 0 asks for no tokens:
    programs that score texts do.
    """

    other_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **SamplingFields.other_names,
        "max_tokens": ("max_completion_tokens", "n_predict"),
    }

    prompt: Any = Field(
        default=None,
        json_schema_extra={
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}},
                {"type": "array", "items": {"type": "integer"}},
                {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
                {"type": "object"},
                {"type": "array", "items": {"type": "object"}},
            ]
        },
    )
    suffix: str | None = None
    max_tokens: AnyLimit = None
    logprobs: Alternatives = None
    echo: Flag | None = None
    best_of: Whole | None = None
    stream_options: StreamOptions | None = None

    @property
    def scores_prompt(self) -> bool:
        """Whether the prompt comes back with the log-probabilities of its tokens."""
        return bool(self.echo) and self.logprobs is not None

    def prompts(self) -> tuple[OnePrompt, ...]:
        """Every prompt of the body. Raises `BadRequest`."""
        given = self.prompt
        if isinstance(given, list) and given and all(type(one) is int for one in given):
            given = [given]
        if not isinstance(given, list):
            return (_prompt(given, "prompt"),)
        if not 1 <= len(given) <= MAX_PROMPTS:
            raise BadRequest(f"prompt: 1 to {MAX_PROMPTS} prompts are taken", field="prompt")
        return tuple(_prompt(one, f"prompt.{at}") for at, one in enumerate(given))


def _prompt(given: object, field: str) -> OnePrompt:
    if isinstance(given, dict):
        if given.get(DATA):
            return marked_prompt(given, field)
        given = given.get(STRING)
    if isinstance(given, str) and given:
        return given
    if isinstance(given, list) and given and all(type(one) is int for one in given):
        return tuple(given)
    raise BadRequest(
        "prompt: a text or token ids, or a list of them, none of them empty", field="prompt"
    )
