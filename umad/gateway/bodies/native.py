"""Describes the native endpoints' bodies: the fields of the socket's requests, and no others."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from umad.gateway.bodies.openai_chat import ChatTurn
from umad.gateway.bodies.sampling import SamplingFields


class GenerateBody(SamplingFields):
    """POST /generate. Exactly one of prompt, prompt_ids and messages."""

    model_config = ConfigDict(extra="forbid")

    prompt: str | None = None
    prompt_ids: list[StrictInt] | None = None
    messages: list[ChatTurn] | None = None
    special: StrictBool | None = None
    max_tokens: StrictInt | None = None
    logprobs: StrictInt | None = None
    json_schema: dict[str, Any] | None = None


class ModelBody(BaseModel):
    """POST /load, /unload."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1, max_length=4096)


class PriorityBody(BaseModel):
    """POST /priority. Give one of the three: a session's name, a request's id, or a `target`, which
    may be either.
    """

    model_config = ConfigDict(extra="forbid")

    session: str | None = Field(default=None, min_length=1, max_length=256)
    request: str | None = Field(default=None, min_length=1, max_length=256)
    target: str | None = Field(default=None, min_length=1, max_length=256)
    lane: str = Field(min_length=1, max_length=256)


class ForgetBody(BaseModel):
    """POST /forget. Give one of the two: a session's name, or `all` for every session of the caller
    (for an admin: of anybody).

    Stored responses are not removed; DELETE /v1/responses/{id} does that.
    """

    model_config = ConfigDict(extra="forbid")

    session: str | None = Field(default=None, min_length=1, max_length=256)
    all: StrictBool = False


class CancelBody(BaseModel):
    """POST /cancel. `request` is an id as `/status` lists it."""

    model_config = ConfigDict(extra="forbid")

    request: str = Field(min_length=1, max_length=256)
