"""Holds the conversation of `umad run`: a message, an answer, and again.

Ctrl-C ends the answer that is being written; a second one, or one at an empty prompt, leaves.
Blocks the process's main thread while a person types; no event loop runs then.
"""

import asyncio

import click

from umad.cli.printed import printable
from umad.cli.stream import stream
from umad.cli.talk import Left, Talk
from umad.cli.typed import Dropped, read_message
from umad.errors import ConnectionLost, NoDaemon, UmadError
from umad.service import Service


def converse(runner: asyncio.Runner, client: Service, talk: Talk, *, as_json: bool) -> None:
    """Talk until the person leaves.

    Raises the error that ends the conversation, for example a daemon that is gone.
    """
    click.echo("Ctrl-C ends an answer, Ctrl-D or /bye the conversation; /help says more.", err=True)
    while True:
        try:
            text = read_message()
        except Dropped:
            click.echo(err=True)
            continue
        except (EOFError, KeyboardInterrupt) as ended:
            click.echo(err=True)
            if isinstance(ended, KeyboardInterrupt):
                raise
            return
        try:
            if _is_command(text):
                click.echo(talk.obey(text), err=True)
            elif text:
                _turn(runner, client, talk, text, as_json=as_json)
        except Left:
            return
        except (ConnectionLost, NoDaemon):
            raise
        except UmadError as error:
            click.echo(f"umad: {printable(error.message)}", err=True)


def _is_command(text: str) -> bool:
    """Whether it is for this program. A path, and a text of several lines, are for the model."""
    words = text.split(maxsplit=1)
    is_one = text.startswith("/") and "/" not in words[0][1:]
    return is_one and ("\n" not in text or words[0] == "/set")


def _turn(runner: asyncio.Runner, client: Service, talk: Talk, text: str, *, as_json: bool) -> None:
    """One message and its answer, which is kept as far as it came; nothing of a turn that fails."""
    answer: list[str] = []
    # A list, because the coroutine below may be left in the middle.
    ended: list[bool] = []

    async def ask() -> None:
        try:
            await stream(client, talk.asking(text), answer.append, as_json=as_json)
        except asyncio.CancelledError:  # the first Ctrl-C, and its request is cancelled by now
            ended.append(True)
            raise

    try:
        runner.run(ask())
    except KeyboardInterrupt:
        if not ended:
            raise  # the second one, before the first had ended the answer
        click.echo("(ended)", err=True)
    talk.keep(text, "".join(answer))
