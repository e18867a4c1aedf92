"""Describes the native endpoints' bodies: the fields of the socket's requests, and no others."""

from pydantic import ConfigDict, Field, StrictInt

from umad.config import KvType
from umad.gateway.bodies.base import Body
from umad.gateway.bodies.openai_chat import ChatTurn
from umad.gateway.bodies.sampling import SamplingFields
from umad.gateway.bodies.values import AnyLimit, Flag, Whole
from umad.request import MAX_FINGERPRINT_CHARS, AnswerSoFar


class ResumeBody(Body):
    """An answer that was cut, to be continued: its tokens so far, and the fingerprint that its
    `accepted` told. The seed and max_tokens that it told have to be in the body, too.
    """

    model_config = ConfigDict(extra="forbid")

    tokens: list[StrictInt] = Field(min_length=1)
    fingerprint: str = Field(min_length=1, max_length=MAX_FINGERPRINT_CHARS)

    def begun(self) -> AnswerSoFar:
        """The beginning of the answer."""
        return AnswerSoFar(tokens=tuple(self.tokens), fingerprint=self.fingerprint)


class GenerateBody(SamplingFields):
    """POST /generate. Exactly one of prompt, prompt_ids and messages."""

    model_config = ConfigDict(extra="forbid")

    prompt: str | None = None
    prompt_ids: list[StrictInt] | None = None
    messages: list[ChatTurn] | None = None
    special: Flag | None = None
    max_tokens: AnyLimit = None
    logprobs: Whole | None = None
    resume: ResumeBody | None = None


class ModelBody(Body):
    """POST /load, /unload."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1, max_length=4096)


class EstimateBody(ModelBody):
    """POST /estimate. What is left out is as the daemon's settings have it."""

    ctx_size: int | None = Field(None, ge=256, le=2**24)
    max_seqs: int | None = Field(None, ge=1, le=256)
    kv_type: KvType | None = None


class PriorityBody(Body):
    """POST /priority. Give one of the three: a session's name, a request's id, or a `target`, which
    may be either.
    """

    model_config = ConfigDict(extra="forbid")

    session: str | None = Field(default=None, min_length=1, max_length=256)
    request: str | None = Field(default=None, min_length=1, max_length=256)
    target: str | None = Field(default=None, min_length=1, max_length=256)
    lane: str = Field(min_length=1, max_length=256)


class ForgetBody(Body):
    """POST /forget. Give one of the two: a session's name, or `all` for every session of the caller
    (for an admin: of anybody).

    Stored responses are not removed; DELETE /v1/responses/{id} does that.
    """

    model_config = ConfigDict(extra="forbid")

    session: str | None = Field(default=None, min_length=1, max_length=256)
    all: Flag = False


class CancelBody(Body):
    """POST /cancel. `request` is an id as `/status` lists it."""

    model_config = ConfigDict(extra="forbid")

    request: str = Field(min_length=1, max_length=256)
