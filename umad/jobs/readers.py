"""Finds the jobs that read files which are to be removed. Blocks for the disk."""

import os
from collections.abc import Collection
from pathlib import Path

from umad.errors import Refused
from umad.jobs.book import opened
from umad.jobs.job import QuantizeOrder


def refuse_read(model: str, files: Collection[str], folder: Path) -> None:
    """Raise `Refused` where a quantization that is not over reads one of the files. folder: the
    store's.
    """
    if not files:
        return
    with opened(folder) as book:
        for job in book.live():
            order = job.order
            if not isinstance(order, QuantizeOrder):
                continue
            read = (os.path.realpath(path) for path in (order.source, order.projector) if path)
            if any(path in files for path in read):
                raise Refused(
                    f"{model} is read by job {job.id} ({order.what}); wait for its end, or end "
                    f"it: umad jobs cancel {job.id}",
                    field="model",
                )
