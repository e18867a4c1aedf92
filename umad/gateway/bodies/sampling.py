"""Describes the fields that several dialects share: sampling, and umad's own fields.

A field that is not given keeps umad's default. Only `umad.request` checks ranges. Not: where a
schema or a grammar for the answer may stand (`answer_form`).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from umad.gateway.bodies.adapters import AdapterBody, choices
from umad.gateway.bodies.answer_form import FormFields
from umad.gateway.bodies.base import Body
from umad.gateway.bodies.values import Biases, Flag, NoShift, Number, Stops, TopK, Whole, Window
from umad.request import SAMPLING_FIELDS, SamplingParams


class Drawing(Body):
    """The fields that say how tokens are drawn, in every dialect: OpenAI's, those of llama.cpp,
    Ollama and vLLM, and umad's own `speculate`.
    """

    other_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "repetition_penalty": ("repeat_penalty",),
        "penalty_last_n": ("repeat_last_n",),
        "context_shift": ("ctx_shift",),
    }

    temperature: Number | None = None
    top_k: TopK | None = None
    top_p: Number | None = None
    min_p: Number | None = None
    typical_p: Number | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    repetition_penalty: Number | None = None
    penalty_last_n: Window | None = None
    seed: Whole | None = None
    stop: Stops | None = None
    logit_bias: Biases | None = None
    ignore_eos: Flag | None = None
    context_shift: NoShift | None = None
    speculate: Flag | None = None
    # llama-server's: the most guesses of a step. umad chooses their number, so only 0 counts.
    most_guesses: Whole | None = Field(default=None, alias="speculative.n_max")

    @property
    def is_guessed(self) -> bool:
        """Whether the next tokens of the answer may be guessed, where the engine does that."""
        return self.speculate is not False and self.most_guesses != 0

    def drawing(self) -> dict[str, Any]:
        """The given fields under the names of `umad.request.SamplingParams`. A negative seed asks
        for any seed. Biases of texts are left out, as only a model knows their tokens
        (`text_biases`).
        """
        given: dict[str, Any] = {
            name: value for name in _SAME_NAME if (value := getattr(self, name)) is not None
        }
        if self.seed is not None and self.seed >= 0:
            given["seed"] = self.seed
        if self.stop:
            given["stop"] = self.stop
        ids = tuple([pair for pair in self.logit_bias or () if isinstance(pair[0], int)])
        if ids:
            given["logit_bias"] = ids
        return given

    def given(self) -> frozenset[str]:
        """The fields of `umad.request.SamplingParams` that the client has decided."""
        seed = () if self.seed is None else ("seed",)
        return frozenset((*self.drawing(), *seed))

    def text_biases(self) -> tuple[tuple[str, float], ...]:
        """The biases of every token of a text."""
        return tuple([(one, bias) for one, bias in self.logit_bias or () if isinstance(one, str)])


# Taken apart in `Drawing.drawing`; every other field of `SamplingParams` is taken as it is.
_TAKEN_APART = frozenset({"logit_bias", "seed", "stop"})
_SAME_NAME = tuple(
    name for name in SAMPLING_FIELDS if name in Drawing.model_fields and name not in _TAKEN_APART
)


class SamplingFields(FormFields, Drawing):
    """The fields of OpenAI's generating endpoints and of the native one."""

    model: str | None = None
    n: Whole | None = None
    stream: Flag | None = None
    user: str | None = None
    # llama-server's, and umad's own
    lora: list[AdapterBody] | None = None
    lane: str | None = None
    session: str | None = None
    deadline_ms: Whole | None = None

    def sampling(
        self, *, max_tokens: int | None, logprobs: int | None, fit: bool = True
    ) -> SamplingParams:
        """The sampling of the body; `GatewayCall.open` checks it.

        `fit`: a limit above the room there is means all of the room, because clients ask for as
        many tokens as their maker's model could write.
        """
        return SamplingParams(**self.drawing(), max_tokens=max_tokens, fit=fit, logprobs=logprobs)

    def place(self) -> dict[str, Any]:
        """The model, adapters, lane, session, deadline and count of the request, its constraint,
        and whether its tokens may be guessed. Raises `BadRequest` for a form of the answer that
        cannot be kept.
        """
        form = self.form
        return {
            "model": self.model,
            "lora": choices(self.lora),
            "n": 1 if self.n is None else self.n,
            "lane": self.lane,
            "session": self.session,
            "deadline_ms": self.deadline_ms,
            "speculate": self.is_guessed,
            "constraint": None if form is None else form.constraint,
        }
