"""Makes jobs of the rows of their list. Pure. Not: reading them (`umad.jobs.book`)."""

import json
from collections.abc import Sequence
from typing import Any

from umad.jobs.job import Job, JobKind, JobProgress, JobState, order_of

# In the order in which `job_of` takes them.
COLUMNS = (
    "id, kind, owner, wish, state, run, deaths, pid, is_unwanted, progress, result, error, "
    "asked_s, started_s, ended_s, version"
)


def job_of(row: Sequence[Any]) -> Job:
    """The job of a row. Raises `ValueError`, `TypeError` or `KeyError` for a row that makes no
    sense.
    """
    (
        job_id,
        kind,
        owner,
        wish,
        state,
        run,
        deaths,
        pid,
        is_unwanted,
        progress,
        result,
        error,
        asked_s,
        started_s,
        ended_s,
        version,
    ) = row
    failure = None if error is None else json.loads(error)
    if failure is not None and not {"code", "message"} <= failure.keys():
        raise ValueError("its error has no code or message")
    return Job(
        id=_text(job_id),
        order=order_of(JobKind(kind), json.loads(wish)),
        owner=_text(owner),
        state=JobState(state),
        run=int(run),
        deaths=int(deaths),
        pid=None if pid is None else int(pid),
        is_unwanted=bool(is_unwanted),
        progress=JobProgress() if progress is None else JobProgress.of_map(json.loads(progress)),
        result={} if result is None else dict(json.loads(result)),
        error=failure,
        asked_s=int(asked_s),
        started_s=None if started_s is None else int(started_s),
        ended_s=None if ended_s is None else int(ended_s),
        version=int(version),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value
