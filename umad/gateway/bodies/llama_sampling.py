"""Describes sampling fields under the names of llama.cpp's programs, which Ollama also uses.

Not: OpenAI's names (`sampling`), nor the length limit of an answer: each dialect names it
differently.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from umad.request import SAMPLING_FIELDS

# Stands for -1, the whole prompt: no reader would notice a repetition farther back.
_WHOLE_PROMPT_TOKENS = 1_000_000


class LlamaSampling(BaseModel):
    """The sampling fields of a body."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = Field(default=None, ge=-1)
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None

    def given(self) -> dict[str, Any]:
        """The given fields under the names of `umad.request.SamplingParams`; the others keep umad's
        defaults. A negative seed asks for any seed.
        """
        given: dict[str, Any] = {
            name: value for name in SAME_NAME if (value := getattr(self, name)) is not None
        }
        if self.repeat_penalty is not None:
            given["repetition_penalty"] = self.repeat_penalty
        if self.repeat_last_n is not None:
            last_n = self.repeat_last_n
            given["penalty_last_n"] = _WHOLE_PROMPT_TOKENS if last_n < 0 else last_n
        if self.seed is not None and self.seed >= 0:
            given["seed"] = self.seed
        return given


# Fields under the name they have in `SamplingParams`, but for `seed`, whose -1 is no seed.
SAME_NAME = tuple(
    name for name in SAMPLING_FIELDS if name in LlamaSampling.model_fields and name != "seed"
)
