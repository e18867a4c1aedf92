"""Describes the fields that several dialects share: sampling, and umad's own fields.

A field that is not given keeps umad's default. Only `umad.request` checks ranges.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from umad.constraint import Constraint
from umad.errors import BadRequest
from umad.request import SAMPLING_FIELDS, SamplingParams


class Lenient(BaseModel):
    """A foreign dialect's body: unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class SamplingFields(Lenient):
    """OpenAI's sampling fields, and those of llama.cpp and vLLM that come in `extra_body`."""

    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = Field(default=None, max_length=4096)
    seed: StrictInt | None = None
    n: StrictInt | None = None
    stop: str | list[str] | None = None
    stream: StrictBool | None = None
    user: str | None = None
    # umad's own, and other servers'
    top_k: StrictInt | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    penalty_last_n: StrictInt | None = None
    ignore_eos: StrictBool | None = None
    grammar: str | None = None
    lane: str | None = None
    session: str | None = None
    deadline_ms: StrictInt | None = None

    def sampling(
        self, *, max_tokens: int | None, logprobs: int | None, fit: bool = True
    ) -> SamplingParams:
        """The sampling of the body; `GatewayCall.open` checks it. Raises `BadRequest` for a wrong
        bias.

        `fit`: a limit above the room there is means all of the room, because clients ask for as
        many tokens as their maker's model could write.
        """
        given: dict[str, Any] = {
            name: value for name in _SAME_NAME if (value := getattr(self, name)) is not None
        }
        if self.logit_bias:
            given["logit_bias"] = _biases(self.logit_bias)
        if self.seed is not None and self.seed >= 0:  # -1 is other servers' "any"
            given["seed"] = self.seed
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return SamplingParams(
            **given,
            # Packages send an empty one where they mean none.
            stop=tuple(one for one in stops if one),
            max_tokens=max_tokens,
            fit=fit,
            logprobs=logprobs,
        )

    def place(self) -> dict[str, Any]:
        """The model, lane, session, deadline and count of the request, and its constraint."""
        return {
            "model": self.model,
            "n": 1 if self.n is None else self.n,
            "lane": self.lane,
            "session": self.session,
            "deadline_ms": self.deadline_ms,
            "constraint": Constraint(kind="gbnf", text=self.grammar) if self.grammar else None,
        }


# Taken apart in `SamplingFields.sampling`; every other field of `SamplingParams` is taken as it is.
_TAKEN_APART = frozenset({"logit_bias", "seed", "stop"})
_SAME_NAME = tuple(
    name
    for name in SAMPLING_FIELDS
    if name in SamplingFields.model_fields and name not in _TAKEN_APART
)


def _biases(given: dict[str, float]) -> tuple[tuple[int, float], ...]:
    for token in given:
        if not (token.isdecimal() and len(token) < 10):
            raise BadRequest(
                f"logit_bias: a token's id is a whole number, not {token[:32]!r}",
                field="logit_bias",
            )
    return tuple((int(token), bias) for token, bias in given.items())
