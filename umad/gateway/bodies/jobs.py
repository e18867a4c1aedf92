"""Describes the bodies and answers of umad's own endpoints about jobs."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from umad.gateway.bodies.base import Body
from umad.gateway.bodies.values import Flag, Whole

_MOST_BYTES = 2**60


class PullModelBody(Body):
    """POST /pull. `quantize` is the type of a smaller copy that is written, too; the rest are
    limits of the fetch.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1, max_length=4096)
    quantize: str | None = Field(default=None, min_length=1, max_length=64)
    parts: Whole | None = Field(default=None, ge=1, le=16)
    bytes_per_s: Whole | None = Field(default=None, ge=1, le=_MOST_BYTES)
    keep_free_bytes: Whole | None = Field(default=None, ge=0, le=_MOST_BYTES)
    stream: Flag = False


class NewJobBody(Body):
    """POST /jobs. `to` and `name` are a quantization's: the type, and the name of the copy."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["load", "quantize"]
    model: str = Field(min_length=1, max_length=4096)
    to: str | None = Field(default=None, min_length=1, max_length=64)
    name: str | None = Field(default=None, min_length=1, max_length=256)


class JobPart(BaseModel):
    """How far one file is: bytes, or the tensors of a quantization; of a load the bytes read."""

    name: str
    done: int = Field(ge=0)
    total: int = Field(ge=0)
    per_s: float
    remaining_s: float | None
    digest: str


class JobAnswer(BaseModel):
    """A job."""

    job: str
    kind: Literal["pull", "quantize", "load"]
    what: str
    asked: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    step: Literal["waiting", "fetching", "quantizing", "checking", "loading"]
    parts: list[JobPart]
    done: int = Field(ge=0)
    total: int = Field(ge=0)
    missing_bytes: int = Field(ge=0)
    source: str
    note: str
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    cancelling: bool
    deaths: int = Field(ge=0)
    asked_s: int
    started_s: int | None
    ended_s: int | None
    version: int = Field(ge=0)


class JobList(BaseModel):
    """GET /jobs, the newest first."""

    jobs: list[JobAnswer]
