"""Prints one completion to stdout: its text as it comes, or its events as JSON lines.

Not: choosing the request (`umad.cli.run`, `umad.cli.chat`).
"""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict

import click

from umad.cli.printed import shown_text
from umad.errors import UmadError
from umad.protocol.errors import error_of_failed
from umad.request import GenerateRequest
from umad.service import Done, Event, Failed, Service, Tokens


async def stream(
    client: Service,
    request: GenerateRequest,
    heard: Callable[[str], object] | None = None,
    *,
    as_json: bool,
) -> None:
    """Print a completion as it comes, or its events as JSON. heard: told every piece of text.

    Raises the error the request ended with.
    """
    request.check()
    began = False
    events = client.events(request)
    try:
        async for event in events:
            if as_json:
                print_event(event)
            match event:
                case Tokens():
                    began = True
                    if heard is not None:
                        heard(event.text)
                    if not as_json:
                        # color: without it click removes what looks like a colour from the text.
                        click.echo(shown_text(event.text), nl=False, color=True)
                case Failed():
                    raise error_of_failed(event)
                case Done(finish_reason="cancelled"):
                    raise UmadError("the request was cancelled by another client")
                case _:
                    pass
    finally:
        await _close(events)
        if began and not as_json:
            click.echo()


async def _close(events: AsyncIterator[Event]) -> None:
    # If the loop is left early, the iterator is closed at once, which cancels its request.
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()


def print_event(event: Event) -> None:
    """One line of JSON: {"event": kind, …the event's fields}."""
    fields = {"event": type(event).__name__.lower(), **asdict(event)}
    click.echo(json.dumps(fields, ensure_ascii=False))
