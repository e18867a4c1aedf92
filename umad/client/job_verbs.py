"""Defines the clients' verbs about jobs and about the models that umad keeps. Pure.

Not: all other verbs (`umad.client.verbs`).
"""

from collections.abc import Mapping
from typing import Any

from umad.client.methods import Question
from umad.client.results import as_facts, as_rows
from umad.client.rows import JobRow
from umad.protocol import messages


def load_in_background(model: str) -> Question[JobRow]:
    """Load a model; return the job of that at once. Raises `UnknownModel`."""
    return Question(
        message=lambda id_: messages.Load(id=id_, model=model, background=True), read=JobRow.of
    )


def pull(
    model: str,
    *,
    quantize: str | None = None,
    parts: int | None = None,
    bytes_per_s: int | None = None,
    keep_free_bytes: int | None = None,
    surroundings: str | None = None,
) -> Question[JobRow]:
    """Fetch a model in the background; return the job, which may be one that does the same already.

    quantize: the type of a smaller copy that is written, too. surroundings: a digest of this
    process's variables (`umad.jobs.surroundings`), where the daemon must fetch as this process
    would. Raises `UnknownModel`, `BadRequest`, `Unsupported` or `QueueFull`.
    """
    return Question(
        message=lambda id_: messages.Pull(
            id=id_,
            model=model,
            quantize=quantize,
            parts=parts,
            bytes_per_s=bytes_per_s,
            keep_free_bytes=keep_free_bytes,
            surroundings=surroundings,
        ),
        read=JobRow.of,
    )


def quantize(model: str, *, to: str | None = None, name: str | None = None) -> Question[JobRow]:
    """Write a smaller copy of a model into the store, in the background; return the job.

    to: the type, such as "q4_k_m". name: the copy's. Raises `UnknownModel` or `BadRequest`.
    """
    return Question(
        message=lambda id_: messages.Quantize(id=id_, model=model, to=to, name=name),
        read=JobRow.of,
    )


def jobs() -> Question[list[JobRow]]:
    """Every job that may be seen, the newest first."""
    return Question(message=lambda id_: messages.Jobs(id=id_), read=as_rows(JobRow))


def job(job: str, *, after: int | None = None) -> Question[JobRow]:
    """One job. Raises `UnknownRequest`.

    after: its `version` as it is known. The answer then waits for a later one, up to ten seconds.
    """
    return Question(
        message=lambda id_: messages.GetJob(id=id_, job=job, after=after), read=JobRow.of
    )


def cancel_job(job: str) -> Question[JobRow]:
    """End a job; one that runs may take some seconds to end. Raises `UnknownRequest`."""
    return Question(message=lambda id_: messages.CancelJob(id=id_, job=job), read=JobRow.of)


def remove_model(model: str) -> Question[Mapping[str, Any]]:
    """Remove a model that umad keeps, or a saved preset; return {name, freed_bytes}.

    Raises `UnknownModel`, or `Refused` where it is in use or another program's.
    """
    return Question(message=lambda id_: messages.RemoveModel(id=id_, model=model), read=as_facts)


def copy_model(model: str, name: str) -> Question[Mapping[str, Any]]:
    """Give a model a second name; return {name, model}. Raises `UnknownModel` or `BadRequest`."""
    return Question(
        message=lambda id_: messages.CopyModel(id=id_, model=model, name=name), read=as_facts
    )


def save_preset(
    name: str,
    model: str,
    *,
    system: str | None = None,
    sampling: Mapping[str, Any] | None = None,
) -> Question[Mapping[str, Any]]:
    """Keep a model with a system prompt and sampling under a name; return {name, model}.

    sampling: fields of `umad.request.SamplingParams`. Raises `UnknownModel` or `BadRequest`.
    """
    return Question(
        message=lambda id_: messages.SavePreset(
            id=id_, name=name, model=model, system=system, sampling=sampling
        ),
        read=as_facts,
    )
