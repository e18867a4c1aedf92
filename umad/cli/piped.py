"""Reads the text that is piped into a command. Not: what a person types (`umad.cli.typed`)."""

import io
import select
import sys

import click

from umad.errors import BadRequest

# More than any model's context in text; what is longer is a mistake such as `umad run < disk.img`.
MAX_STDIN_BYTES = 8 * 2**20
# A pipe that stays silent for so long is perhaps one that nobody writes into (`ssh HOST umad run`).
NOTICE_S = 2.0


def piped_text(*, has_prompt: bool) -> str:
    """All of stdin as text; empty where nothing is piped in.

    has_prompt: whether there is a prompt besides, so that nothing has to be piped in. Raises
    `BadRequest` for what is no text, or too much of it.
    """
    try:
        if has_prompt:
            _say_if_silent()
        raw = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1) or b""
    except OSError as error:
        # A program that runs this one in itself may have put something without bytes there.
        if has_prompt and error.errno is None:
            return ""
        raise BadRequest(f"stdin cannot be read: {error.strerror or error}") from error
    if len(raw) > MAX_STDIN_BYTES:
        raise BadRequest(f"stdin holds more than {MAX_STDIN_BYTES} bytes; send a shorter prompt")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest("stdin is not UTF-8 text; convert it first") from error


def joined(piped: str, prompt: str | None) -> str:
    """What is piped in and then the prompt, as `cat FILE | umad run "sum this up"` means it."""
    if prompt is None:
        return piped
    return f"{piped.rstrip()}\n\n{prompt}" if piped.strip() else prompt


def _say_if_silent() -> None:
    """Tell a person who waits for an answer that stdin is waited for."""
    try:
        number = sys.stdin.fileno()
    except (io.UnsupportedOperation, ValueError):
        return
    readable, _, _ = select.select([number], [], [], NOTICE_S)
    if not readable:
        click.echo("umad: reading stdin first; end it, or give it none: < /dev/null", err=True)
