"""Shows how far a pull or a job is, and follows a job to its end.

On a terminal there is a bar for each file, elsewhere a line now and then, all of it on stderr. A
job is asked of the daemon; where the daemon goes away, the list of jobs on the disk tells how its
process goes on. Not: doing the work.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from umad.cli.printed import printable
from umad.cli.tables import byte_size
from umad.errors import Cancelled, ConnectionLost, NoDaemon
from umad.jobs.book import opened
from umad.jobs.job import JobProgress, JobState, PartProgress
from umad.jobs.lock import JobLock
from umad.models.store import store_folder
from umad.protocol.errors import error_of
from umad.service import Service

# Between two lines of one file where nobody watches a bar: a log of a large model stays short.
_LINE_PERCENT = 10
# A licence or a template is there before its bar could be read.
_LARGE_BYTES = 10**6
# Between two looks at the disk.
_LOOK_S = 0.5
# A daemon that is started again is back by then.
_PATIENCE_S = 30.0


def stderr_console() -> Console:
    """The console for what is no answer."""
    # Without emoji: of `ollama:smile: 2 GB` a part would become a picture.
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


@dataclass(slots=True, kw_only=True)
class Shown:
    """What a person sees of one piece of work."""

    console: Console
    # Whether the person is asked before the first byte.
    asks: bool = False
    _is_planned: bool = False
    _step: str = ""
    _bars: Progress | None = None
    _tasks: dict[str, TaskID] = field(default_factory=dict)
    # What each file was shown to be last, and the last tenth that a line was printed for.
    _seen: dict[str, PartProgress] = field(default_factory=dict)
    _told: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def told(self, now: JobProgress) -> None:
        """Show how far it is. Raises `click.Abort` where a person was asked and says no."""
        if now.step == "fetching":
            if now.parts and not self._is_planned:
                self._is_planned = True
                self._plan(now)
            for part in now.parts:
                self._part(part, _bytes_words(part), _bytes_words(part))
        elif now.step in ("quantizing", "checking", "loading"):
            if self._step != now.step and now.parts:
                self._step = now.step
                self._begin(now)
            for part in now.parts:
                done, total = str(part.done), f"{part.total} tensors"
                if now.step == "loading":
                    done, total = byte_size(part.done), byte_size(part.total)
                self._part(part, f"{done} of {total}", total)

    def waits(self) -> None:
        """Say once that the work has not begun."""
        if self._step != "waiting":
            self._step = "waiting"
            self.console.print("it waits for other jobs: umad jobs", soft_wrap=True)

    # -- a fetch --------------------------------------------------------------------------------

    def _plan(self, now: JobProgress) -> None:
        """Say what comes, and ask where it is to."""
        if now.note:
            self.console.print(printable(now.note), soft_wrap=True)
        if not now.missing_bytes:
            return
        what = f"{printable(now.source)}: {byte_size(now.missing_bytes)} to fetch"
        self.console.print(what, soft_wrap=True)
        if self.asks:
            click.confirm(
                "It is not on this machine. Fetch it?", default=True, abort=True, err=True
            )
        large = [one for one in now.parts if one.total >= _LARGE_BYTES]
        self._open([(_short(one.name), one) for one in large or now.parts])

    # -- a quantization -------------------------------------------------------------------------

    def _begin(self, now: JobProgress) -> None:
        if now.step == "quantizing" and now.note:
            self.console.print(printable(now.note), soft_wrap=True)
        self._told.clear()
        if now.step == "checking" and not self.console.is_terminal:
            self.console.print("checking the result", soft_wrap=True)
        self._open([(now.step, one) for one in now.parts])

    # -- bars and lines -------------------------------------------------------------------------

    def _open(self, parts: list[tuple[str, PartProgress]]) -> None:
        self._stop()
        if not self.console.is_terminal:
            return
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            console=self.console,
            transient=True,
        )
        for label, part in parts:
            self._tasks[part.name] = self._bars.add_task(label, total=part.total or None, words="")
        self._bars.start()

    def _stop(self) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._bars = None
        self._tasks.clear()
        self._seen.clear()

    def _part(self, part: PartProgress, words: str, of: str) -> None:
        """Move a bar, or print a line."""
        if self._seen.get(part.name) == part:
            return
        self._seen[part.name] = part
        if self._bars is not None:
            task = self._tasks.get(part.name)
            if task is not None:
                total = part.total or None
                self._bars.update(task, completed=part.done, total=total, words=words)
            return
        if self.console.is_terminal:
            return
        tenth = part.done * 100 // max(part.total, 1) // _LINE_PERCENT
        # The first reading has no speed yet, and says where an earlier run had stopped.
        if tenth > self._told.get(part.name, 0):
            self._told[part.name] = tenth
            line = f"{printable(part.name)}: {tenth * _LINE_PERCENT} % of {of}"
            self.console.print(line, soft_wrap=True)


def _short(name: str) -> str:
    """A file's name without its folder, cut in the middle where it would leave a bar no room."""
    last = printable(name.rpartition("/")[2])
    return last if len(last) <= 44 else f"{last[:18]}…{last[-25:]}"


def _bytes_words(part: PartProgress) -> str:
    words = [byte_size(part.total)]
    if part.per_s and part.done < part.total:
        words.append(f"{byte_size(round(part.per_s))}/s")
        if part.remaining_s is not None:
            words.append(f"{time_words(part.remaining_s)} left")
    return ", ".join(words)


def time_words(seconds: float) -> str:
    """A time for a person."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


# -- jobs ------------------------------------------------------------------------------------------


def follow(
    runner: asyncio.Runner, client: Service, row: Mapping[str, Any], shown: Shown
) -> Mapping[str, Any]:
    """Show a job until it is over; returns the facts of what was made. Raises the error that it
    failed with, `Cancelled`, or `NoDaemon` where nobody goes on with it.
    """
    lost_s: float | None = None
    while True:
        shown.told(JobProgress.of_map(row))
        if row["state"] not in ("queued", "running"):
            return _made(row)
        try:
            now = runner.run(client.job(str(row["job"]), after=int(row["version"])))
            if now["state"] == "queued" and now["version"] == row["version"]:
                shown.waits()
            row, lost_s = now, None
        except (NoDaemon, ConnectionLost):
            now_s = time.monotonic()
            row, has_process = _on_disk(row)
            lost_s = now_s if lost_s is None or has_process else lost_s
            if now_s - lost_s > _PATIENCE_S and row["state"] in ("queued", "running"):
                raise NoDaemon(
                    f"no daemon runs, and nothing goes on with job {row['job']}; start one "
                    f"(umad serve), then: umad jobs follow {row['job']}"
                ) from None
            time.sleep(_LOOK_S)


def _on_disk(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """The job as the list on the disk has it, and whether its process lives."""
    with opened(store_folder(os.environ)) as book:
        job = book.get(str(row["job"]))
        is_running = job.state is JobState.RUNNING
        return job.as_map(), is_running and JobLock(book.folder, job.id).is_held()


def _made(row: Mapping[str, Any]) -> Mapping[str, Any]:
    error = row.get("error")
    if error is not None:
        raise error_of(str(error["code"]), str(error["message"]), error.get("field"))
    if row["state"] == "cancelled":
        raise Cancelled(f"job {row['job']} was cancelled")
    made: Mapping[str, Any] = row.get("result") or {}
    return made
