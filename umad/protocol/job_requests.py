"""Describes the requests about jobs and about the models that umad keeps, as values.

Not: their encoding (`umad.protocol.requests`) and their parsing (`umad.protocol.job_kinds`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from umad.protocol.asking import Asking


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull(Asking):
    """Fetch a model in the background. Result: its job, and `is_new`."""

    model: str
    # The type of a smaller copy that is written, too.
    quantize: str | None = None
    # Limits of the fetch.
    parts: int | None = None
    bytes_per_s: int | None = None
    keep_free_bytes: int | None = None
    # A digest of the asker's variables (`umad.jobs.surroundings`). Where it is given and differs
    # from the daemon's, the daemon refuses, because it would fetch as somebody else.
    surroundings: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantize(Asking):
    """Write a smaller copy of a model into the store, in the background. Result: its job."""

    model: str
    # The type; None for the largest that fits.
    to: str | None = None
    # The copy's name; None for the model's with the type behind it.
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs(Asking):
    """Result: the asker's jobs, an admin's all jobs; the newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetJob(Asking):
    """Result: one job."""

    job: str
    # Its `version` as the asker knows it. The result then comes when there is a later one, or after
    # some seconds.
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelJob(Asking):
    """End a job. Result: the job; one that runs may take some seconds to end."""

    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveModel(Asking):
    """Remove a model that umad keeps, or a preset. Result: {name, freed_bytes}."""

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyModel(Asking):
    """Give a model a second name. Result: {name, model}."""

    model: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SavePreset(Asking):
    """Keep a model with a system prompt and sampling under a name. Result: {name, model}."""

    name: str
    model: str
    system: str | None = None
    # As `umad.request.SAMPLING_FIELDS` names them.
    sampling: Mapping[str, Any] | None = None


JobRequest = Pull | Quantize | Jobs | GetJob | CancelJob | RemoveModel | CopyModel | SavePreset

JOB_TYPE_NAMES: dict[type, str] = {
    Pull: "pull",
    Quantize: "quantize",
    Jobs: "jobs",
    GetJob: "job",
    CancelJob: "job.cancel",
    RemoveModel: "model.remove",
    CopyModel: "model.copy",
    SavePreset: "preset.save",
}
