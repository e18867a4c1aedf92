"""Runs `umad transcribe FILE`: prints what is said in a recording, as it is heard.

Text goes to stdout window by window. How far the recording is stands in one line on stderr, where
that is a terminal and the text itself does not come there. Not: hearing it, which is the daemon's.
One request per command.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import Literal

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from umad.cli.connect import connect
from umad.cli.printed import shown_text
from umad.errors import ProtocolViolation
from umad.service import Service
from umad.subtitles import srt, vtt
from umad.transcription import Heard, Segment, TranscribeRequest, Transcript

Form = Literal["text", "srt", "vtt", "json"]
FORMS: tuple[Form, ...] = ("text", "srt", "vtt", "json")
_S_PER_MIN = 60


def transcribe(request: TranscribeRequest, *, form: Form, socket: str | None) -> None:
    """Print a recording's text in a form. Raises the error that ends it."""
    request.check()
    with asyncio.Runner() as runner, connect(runner, socket) as client:
        runner.run(_print(client, request, form))


async def _print(client: Service, request: TranscribeRequest, form: Form) -> None:
    # A text that a person reads comes as it is heard; the other forms have a beginning and an end.
    written: list[str] = []
    whole: Transcript | None = None
    with _progress(is_shown=form != "text" or not sys.stdout.isatty()) as progress:
        task = progress.add_task("", total=None, at="")
        async with aclosing(client.hear(request)) as events:
            async for event in events:
                if not isinstance(event, Heard):
                    whole = event
                    continue
                if form == "text":
                    _say(event.segments, written)
                _show(progress, task, event)
    if whole is None:
        raise ProtocolViolation("the daemon ended a transcription without its text")
    match form:
        case "text":
            click.echo()
        case "srt":
            click.echo(shown_text(srt(whole.segments)), nl=False)
        case "vtt":
            click.echo(shown_text(vtt(whole.segments)), nl=False)
        case "json":
            click.echo(json.dumps({**asdict(whole), "text": whole.text}))


def _say(segments: Sequence[Segment], written: list[str]) -> None:
    """Write the text of a window behind what is written."""
    text = "".join(one.text for one in segments)
    text = text if written else text.lstrip()
    if not text:
        return
    written.append(text)
    # color: without it click removes what looks like a colour from the text.
    click.echo(shown_text(text), nl=False, color=True)


def _progress(*, is_shown: bool) -> Progress:
    console = Console(stderr=True, highlight=False, markup=False)
    return Progress(
        BarColumn(),
        TextColumn("{task.fields[at]}", markup=False),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (is_shown and console.is_terminal),
        redirect_stdout=False,
    )


def _show(progress: Progress, task: TaskID, event: Heard) -> None:
    at = f"{_clock(event.done_s)} of {_clock(event.total_s)}"
    progress.update(task, completed=event.done_s, total=event.total_s or None, at=at)


def _clock(at_s: float) -> str:
    minutes, seconds = divmod(round(at_s), _S_PER_MIN)
    return f"{minutes}:{seconds:02}"
