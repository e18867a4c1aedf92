"""Describes a job: what was asked, what became of it, and how far it is.

    queued ──▶ running ──▶ done, failed or cancelled
       ▲          │
       └── died ◀─┘

Values and their table. Not: where jobs are kept (`umad.jobs.book`), who starts them
(`umad.jobs.runner`), nor their work. Pure.
"""

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from umad.errors import BadRequest, UmadError
from umad.protocol.errors import error_of
from umad.quantization import QuantizeWish
from umad.state_table import StateTable


class JobKind(enum.Enum):
    """The kinds of jobs; lists show the values."""

    PULL = "pull"
    QUANTIZE = "quantize"
    # Done by the daemon itself.
    LOAD = "load"


class JobState(enum.Enum):
    """The states of a job; lists show the values."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """Nothing happens to the job any more."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class JobEvent(enum.Enum):
    """The events that can happen to a job."""

    START = "start"
    DONE = "done"
    FAIL = "fail"
    CANCEL = "cancel"
    # Its process is gone, and has not told an end; or it was told to end, and the job is wanted.
    DIED = "died"


# The whole life of a job. A pair that is not in the table is a bug, and raises an error.
NEXT: dict[tuple[JobState, JobEvent], JobState] = {
    (JobState.QUEUED, JobEvent.START): JobState.RUNNING,
    (JobState.QUEUED, JobEvent.CANCEL): JobState.CANCELLED,
    (JobState.QUEUED, JobEvent.FAIL): JobState.FAILED,
    (JobState.RUNNING, JobEvent.DONE): JobState.DONE,
    (JobState.RUNNING, JobEvent.FAIL): JobState.FAILED,
    (JobState.RUNNING, JobEvent.CANCEL): JobState.CANCELLED,
    (JobState.RUNNING, JobEvent.DIED): JobState.QUEUED,
}
LIFE = StateTable("a job", NEXT)

# A job that died so often is not tried again. A pull goes on where it was each time. A
# quantization begins anew, and what has killed it once (the lack of memory) will most likely do so
# again.
MOST_DEATHS: Mapping[JobKind, int] = {JobKind.PULL: 8, JobKind.QUANTIZE: 2, JobKind.LOAD: 2}
# A process that is told to end by others than us has not died: its machine or its service was
# stopped. But nothing is begun for ever: a program that ends whatever takes memory does so, too.
MOST_RUNS = 50


# -- what is asked ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PullOrder:
    """Fetch a model."""

    # A reference that says exactly which, whatever the catalogue: `hf:org/repo:Q4_K_M`.
    reference: str
    # As somebody wrote it.
    asked: str = ""
    # Write a smaller copy of it, too. Then a repository's whole weights are fetched.
    quantize: QuantizeWish | None = None
    # Limits of the fetch; None for what a fetch has unless told otherwise.
    parts: int | None = None
    bytes_per_s: int | None = None
    keep_free_bytes: int | None = None

    @property
    def kind(self) -> JobKind:
        """The kind of job."""
        return JobKind.PULL

    @property
    def what(self) -> str:
        """The order in words."""
        return self.reference + (f" as {self.quantize}" if self.quantize else "")

    @property
    def sameness(self) -> tuple[str, ...]:
        """Two orders with the same one are one job. Limits are the first one's."""
        return (self.reference, self.quantize or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeOrder:
    """Write a smaller copy of a model that is here into the store."""

    # The model's name, for people.
    model: str
    # Its first file, and its projector where it has one.
    source: str
    projector: str = ""
    wish: QuantizeWish = "auto"
    # The copy's name; empty for the model's with the type behind it.
    name: str = ""

    @property
    def kind(self) -> JobKind:
        """The kind of job."""
        return JobKind.QUANTIZE

    @property
    def what(self) -> str:
        """The order in words."""
        return f"{self.model} as {self.wish}" + (f", called {self.name}" if self.name else "")

    @property
    def sameness(self) -> tuple[str, ...]:
        """Two orders with the same one are one job."""
        return (self.source, self.wish, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOrder:
    """Load a model, for somebody who wants to follow it."""

    model: str
    # Who asked; others who ask for the same have a job of their own, which is all they may see.
    owner: str = ""
    role: Literal["admin", "user"] = "admin"

    @property
    def kind(self) -> JobKind:
        """The kind of job."""
        return JobKind.LOAD

    @property
    def what(self) -> str:
        """The order in words."""
        return self.model

    @property
    def sameness(self) -> tuple[str, ...]:
        """Two orders with the same one are one job."""
        return (self.model, self.owner)


Order = PullOrder | QuantizeOrder | LoadOrder
_ORDERS: Mapping[JobKind, type[Order]] = {
    JobKind.PULL: PullOrder,
    JobKind.QUANTIZE: QuantizeOrder,
    JobKind.LOAD: LoadOrder,
}


def order_of(kind: JobKind, values: Mapping[str, Any]) -> Order:
    """The order that `asdict` took apart. Raises `TypeError` for values of another one."""
    return _ORDERS[kind](**values)


def wish_of(text: str, field_name: str = "quantize") -> QuantizeWish:
    """A type to quantize to, in any letters. Raises `BadRequest`."""
    plain = text.strip().lower()
    for one in get_args(QuantizeWish):
        if plain == one:
            found: QuantizeWish = one
            return found
    known = ", ".join(get_args(QuantizeWish))
    raise BadRequest(f"{field_name} is one of {known}, not {text[:64]!r}", field=field_name)


# -- how far it is ---------------------------------------------------------------------------------

Step = Literal["waiting", "fetching", "quantizing", "checking", "loading"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartProgress:
    """How far one file is, or the tensors of one."""

    name: str
    done: int
    total: int
    # Over the last seconds; 0 while it is not known, and where nothing is measured.
    per_s: float = 0.0
    remaining_s: float | None = None
    # The sum that its content will have, where it is known: 64 hexadecimal digits.
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """How far a job is."""

    step: Step = "waiting"
    # Of a fetch: all its files, in the order in which they come. Their figures are bytes, as those
    # of a load are; those of a quantization are tensors.
    parts: tuple[PartProgress, ...] = ()
    # Bytes of the fetch that were not here when it began.
    missing_bytes: int = 0
    # The model, exactly: a reference that means the same next year.
    source: str = ""
    # For a person: what was chosen though nobody asked for it, or how large the result will be.
    note: str = ""

    @classmethod
    def of_map(cls, values: Mapping[str, Any]) -> "JobProgress":
        """The progress in a map that has its fields among others, as `asdict` made it or
        `Job.as_map`. Raises `TypeError` or `KeyError` for a map of another shape.
        """
        parts = tuple(PartProgress(**_known(PartProgress, one)) for one in values["parts"])
        return cls(**{**_known(cls, values), "parts": parts})


def _known(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Of a map, what a class has fields for: a newer daemon says more."""
    return {one.name: values[one.name] for one in fields(kind) if one.name in values}


# -- the job ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job, as the book has it."""

    id: str
    order: Order
    # Who asked for it (`umad.asker.Asker.owner`).
    owner: str
    state: JobState = JobState.QUEUED
    # How often it was started, and how often its process died without an end.
    run: int = 0
    deaths: int = 0
    # Of its process; None before that has said so, and for loads.
    pid: int | None = None
    # Somebody wants it to end.
    is_unwanted: bool = False
    progress: JobProgress = field(default_factory=JobProgress)
    # The facts of what was made. Empty unless it is done.
    result: Mapping[str, Any] = field(default_factory=dict)
    # Why it failed, as {code, message, field}.
    error: Mapping[str, Any] | None = None
    # Seconds since 1970.
    asked_s: int = 0
    started_s: int | None = None
    ended_s: int | None = None
    # Grows with every change, so that a follower knows what it has seen.
    version: int = 0

    @property
    def kind(self) -> JobKind:
        """The kind of its order."""
        return self.order.kind

    def failure(self) -> UmadError | None:
        """The error that it failed with; None where it did not fail."""
        if self.error is None:
            return None
        return error_of(
            str(self.error["code"]), str(self.error["message"]), self.error.get("field")
        )

    def as_map(self) -> dict[str, Any]:
        """For the socket, HTTP and `--json`: plain values under stable names."""
        progress = self.progress
        return {
            "job": self.id,
            "kind": self.kind.value,
            "what": self.order.what,
            "asked": self.order.asked if isinstance(self.order, PullOrder) else self.order.model,
            "state": self.state.value,
            "step": progress.step,
            "parts": [asdict(one) for one in progress.parts],
            "done": sum(one.done for one in progress.parts),
            "total": sum(one.total for one in progress.parts),
            "missing_bytes": progress.missing_bytes,
            "source": progress.source,
            "note": progress.note,
            "result": dict(self.result) or None,
            "error": None if self.error is None else dict(self.error),
            "cancelling": self.is_unwanted and not self.state.is_over,
            "deaths": self.deaths,
            "asked_s": self.asked_s,
            "started_s": self.started_s,
            "ended_s": self.ended_s,
            "version": self.version,
        }


def error_map(error: UmadError) -> Mapping[str, Any]:
    """An error as a job keeps it."""
    return {"code": error.code, "message": error.message, "field": error.field}
