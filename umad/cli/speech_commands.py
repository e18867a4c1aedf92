"""Declares `umad transcribe`: its words and help. Not: its work (`umad.cli.transcribe`)."""

import os

import click

from umad.cli.commands import socket_option
from umad.cli.completion import names_of


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True))
@click.option(
    "--model",
    metavar="MODEL",
    help="Speech model.  [default: one that is loaded, else one that is here]",
    shell_complete=names_of("loaded", "stored"),
)
@click.option("--language", metavar="CODE", help="Spoken language, such as en.  [default: found]")
@click.option("--translate", is_flag=True, help="Write English, whatever is spoken.")
@click.option("--prompt", metavar="TEXT", help="Names and spellings that occur in it.")
@click.option("--words", is_flag=True, help="Tell the time of every word; with --format json.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("text", "srt", "vtt", "json")),
    default="text",
    show_default=True,
    help="What is printed.",
)
@click.option(
    "--lane",
    metavar="LANE",
    help="interactive, background, or a configured lane.",
    shell_complete=names_of("lanes"),
)
@socket_option
def transcribe(
    file: str,
    model: str | None,
    language: str | None,
    translate: bool,
    prompt: str | None,
    words: bool,
    form: str,
    lane: str | None,
    socket: str | None,
) -> None:
    """Print what is said in FILE, as it is heard.

    WAV, FLAC, OGG, Opus, MP3 and AIFF are taken. The text of a window of 30 seconds comes as soon
    as it is heard; Ctrl-C ends it at once. A long FILE keeps out of a chat's way.
    """
    from umad.cli.transcribe import FORMS
    from umad.cli.transcribe import transcribe as work
    from umad.transcription import TranscribeRequest

    request = TranscribeRequest(
        path=os.path.abspath(file),
        model=model,
        language=language,
        translate=translate,
        prompt=prompt,
        words=words,
        lane=lane,
    )
    work(request, form=next(one for one in FORMS if one == form), socket=socket)
