"""Holds the conversation of `umad run`: a prompt, a reply, and again.

Ctrl-C ends the reply that is being written, Ctrl-D the conversation; `/new` begins another.
Blocks the process's main thread while a person types; no event loop runs then.
"""

import asyncio
import contextlib
from collections.abc import Callable

import click

from umad.cli.stream import stream
from umad.cli.tables import printable
from umad.errors import ConnectionLost, NoDaemon, UmadError
from umad.request import ChatMessage, GenerateRequest
from umad.service import Service

with contextlib.suppress(ImportError):
    import readline  # noqa: F401  # gives `input` editing and a history, where it is built in

Turns = tuple[ChatMessage, ...]


def converse(
    runner: asyncio.Runner,
    client: Service,
    request: Callable[[Turns], GenerateRequest],
    first: Turns,
    *,
    as_json: bool,
) -> None:
    """Talk until Ctrl-D. `first`: turns that every conversation begins with.

    Raises the error that ends the conversation, for example a daemon that is gone.
    """
    click.echo("Ctrl-C ends a reply, Ctrl-D the conversation, /new begins another.", err=True)
    turns = first
    while True:
        try:
            line = input("> ").strip()
        except KeyboardInterrupt:
            click.echo("\n(Ctrl-D leaves)", err=True)
            continue
        except EOFError:
            click.echo(err=True)
            return
        if line == "/new":
            turns = first
        elif line:
            turns = _turn(runner, client, request, turns, line, as_json=as_json)


def _turn(
    runner: asyncio.Runner,
    client: Service,
    request: Callable[[Turns], GenerateRequest],
    turns: Turns,
    line: str,
    *,
    as_json: bool,
) -> Turns:
    """The conversation after this line: with the line and its reply, or unchanged if there was no
    reply.
    """
    asked = (*turns, ChatMessage(role="user", content=line))
    reply: list[str] = []
    try:
        runner.run(stream(client, request(asked), reply.append, as_json=as_json))
    except KeyboardInterrupt:
        click.echo("(ended)", err=True)
    except (ConnectionLost, NoDaemon):
        raise
    except UmadError as error:
        click.echo(f"umad: {printable(error.message)}", err=True)
        return turns
    if not reply:
        return turns
    return (*asked, ChatMessage(role="assistant", content="".join(reply)))
