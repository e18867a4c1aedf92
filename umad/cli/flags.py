"""Makes one click flag per option of `umad.configuration.options`, and texts by option name again.

Values stay text until `umad.configuration` reads them. So a wrong value gets the same message in
whatever place it was given.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from umad.configuration.options import LISTS, MODEL, OPTIONS, Option

FLAGGED: tuple[Option, ...] = OPTIONS
# What `umad gateway` needs to know of a daemon's options, and is handed by `umad serve`.
_SHARED = ("socket", "socket_owner", "log_level", "verbose")
# It fetches images by their addresses; what is in them is decoded elsewhere.
_FETCHING = ("media.remote_", "media.files")
GATEWAY: tuple[Option, ...] = tuple(
    option
    for option in OPTIONS
    if option.target[0] == "http" or option.name in _SHARED or option.name.startswith(_FETCHING)
)


def option_flags(
    options: Iterable[Option], *, show_all: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that gives a command the flags of `options`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(tuple(options)):
            command = click.option(
                *_spellings(option),
                _parameter(option.name),
                default=None,
                multiple=option is MODEL or option in LISTS,
                metavar=option.kind.metavar or None,
                help=f"{option.help} [env: {option.variables[0]}]",
                hidden=not (option.shown or show_all),
            )(command)
        return command

    return decorate


def given_flags(options: Iterable[Option], given: Mapping[str, Any]) -> dict[str, str]:
    """Texts by option name of what stood on the command line."""
    texts: dict[str, str] = {}
    for option in options:
        value = given[_parameter(option.name)]
        if option is MODEL:
            if value:
                texts[option.name] = models_text(value)
        elif option in LISTS:
            if value:
                texts[option.name] = ",".join(value)
        elif value is not None:
            texts[option.name] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts


def models_text(models: Iterable[str]) -> str:
    """Models as one text. Their paths may have commas in them."""
    return "[" + ", ".join("'" + one.replace("'", "''") + "'" for one in models) + "]"


def as_arguments(options: Iterable[Option], flags: Mapping[str, str]) -> list[str]:
    """The command line that gives `flags` again."""
    words: list[str] = []
    for option in options:
        text = flags.get(option.name)
        if text is None:
            continue
        flag = option.flags[0]
        if option.kind.flag:
            words.append(flag if text == "true" else f"--no-{flag.removeprefix('--')}")
        elif option in LISTS:
            words += [f"{flag}={one}" for one in text.split(",")]
        else:
            words.append(f"{flag}={text}")
    return words


def _spellings(option: Option) -> list[str]:
    if not option.kind.flag:
        return list(option.flags)
    return [f"{flag}/--no-{flag.removeprefix('--')}" for flag in option.flags]


def _parameter(name: str) -> str:
    return "set_" + name.replace(".", "_")
