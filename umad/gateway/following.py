"""Follows jobs for clients that want a stream of what happens.

Clients of Ollama end a pull by leaving it, and it ends only when the last of them has left. So
those who follow a job are counted. A job that somebody else began goes on, whoever leaves.
Not: the pieces of a stream, which are each dialect's. Owner: one event loop.
"""

import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from umad.errors import Cancelled, UmadError
from umad.protocol.errors import error_of
from umad.service import Service

Row = Mapping[str, Any]


class JobFollowers:
    """Who follows which jobs, in one gateway."""

    def __init__(self) -> None:
        self._n: dict[str, int] = {}
        # Jobs that a stream here began, to end with the last one that follows.
        self._ours: set[str] = set()

    async def rows(
        self, service: Service, row: Row, *, ends_it: bool = False
    ) -> AsyncGenerator[Row, None]:
        """`row`, and the job as it changes, to its end; the same one again after some seconds in
        which nothing has. Raises the error that the job failed with, or `Cancelled`.

        row: as `pull` answers. ends_it: a job that is new with `row` ends where all have left.
        """
        job = str(row["job"])
        self._n[job] = self._n.get(job, 0) + 1
        if ends_it and row.get("is_new"):
            self._ours.add(job)
        over = False
        try:
            while True:
                over = is_over(row)
                yield row
                if over:
                    _raise_failure(row)
                    return
                row = await service.job(job, after=int(row["version"]))
        finally:
            self._n[job] -= 1
            if not self._n[job]:
                del self._n[job]
                if job in self._ours and not over:
                    with contextlib.suppress(UmadError):
                        await service.cancel_job(job)
                self._ours.discard(job)


def is_over(row: Row) -> bool:
    """Whether nothing happens to a job any more."""
    return row["state"] not in ("queued", "running")


def _raise_failure(row: Row) -> None:
    error = row.get("error")
    if error is not None:
        raise error_of(str(error["code"]), str(error["message"]), error.get("field"))
    if row["state"] == "cancelled":
        raise Cancelled(f"job {row['job']} was cancelled")
