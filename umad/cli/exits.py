"""Ends a command: one line on stderr that says what to do next, and an exit code.

    0 done  1 the request failed, or the doctor found something wrong  2 wrong usage
    3 no daemon  4 refused (auth, limits)  130 interrupted

The only place that maps errors to codes. Not: the errors themselves (`umad.errors`).
"""

import contextlib
import difflib
import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence

import click
from typing_extensions import override

from umad.cli.printed import printable
from umad.errors import (
    AccessNeeded,
    BadConfig,
    BadRequest,
    LimitExceeded,
    NoDaemon,
    PromptTooLong,
    Refused,
    UmadError,
)
from umad.exit_codes import DONE, FAILED, INTERRUPTED, NO_DAEMON, REFUSED, USAGE

# The most particular class of an error decides.
EXIT_CODES: dict[type[UmadError], int] = {
    UmadError: FAILED,
    BadConfig: USAGE,
    BadRequest: USAGE,
    PromptTooLong: FAILED,  # right usage, wrong prompt
    NoDaemon: NO_DAEMON,
    Refused: REFUSED,
    AccessNeeded: REFUSED,
    LimitExceeded: REFUSED,
}
_log = logging.getLogger(__name__)


def exit_code_of(error: UmadError) -> int:
    """The code of the nearest class in `EXIT_CODES`."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def run_command(command: click.Command, args: Sequence[str]) -> int:
    """Run `command` to its end and return the exit code; never raises."""
    with _buffered_stdout():
        return _run(command, args)


def _run(command: click.Command, args: Sequence[str]) -> int:
    try:
        # Not `command.main`, which ends the process by itself on a broken pipe.
        with command.make_context("umad", list(args)) as context:
            result = command.invoke(context)
        sys.stdout.flush()
        return result if isinstance(result, int) else DONE
    except click.exceptions.Exit as error:
        return error.exit_code
    except UmadError as error:
        return _say(error.message, exit_code_of(error))
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "umad"
        return _say(f"{error.format_message()} See: {where} --help", USAGE)
    except click.ClickException as error:
        return _say(error.format_message(), USAGE)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has what it wanted (`umad ps | head -1`).
        _drop_output()
        return DONE
    except Exception as error:
        if isinstance(error, OSError) and not _takes_output():
            _drop_output()
            return _say(f"stdout cannot be written: {error.strerror}", FAILED)
        # The process's boundary: a bug gives the user one line, and a traceback if it is debugged.
        _log.debug("command failed unexpectedly", exc_info=True)
        if os.environ.get("UMAD_LOG_LEVEL") == "debug":
            raise
        return _say(
            f"unexpected {type(error).__name__}: {error}; "
            "UMAD_LOG_LEVEL=debug shows where, please report it",
            FAILED,
        )


@contextlib.contextmanager
def _buffered_stdout() -> Iterator[None]:
    """Gives stdout the buffer that PYTHONUNBUFFERED took from it.

    A buffer keeps what it could not write. From this `_takes_output` knows whose error it was.
    """
    out = sys.stdout
    if not (isinstance(out, io.TextIOWrapper) and isinstance(out.buffer, io.RawIOBase)):
        yield
        return
    with (
        open(out.fileno(), "wb", closefd=False) as buffered,
        io.TextIOWrapper(buffered, out.encoding, out.errors, line_buffering=True) as text,
        contextlib.redirect_stdout(text),
    ):
        yield


def _takes_output() -> bool:
    """Whether stdout can be written to. Nothing stays buffered if so: it is written now."""
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True


def _drop_output() -> None:
    """Drops the rest of the buffer, so that it does not raise again when Python closes stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str, code: int) -> int:
    line = printable(" ".join(message.split()))
    click.echo(f"umad: {line}", err=True)
    return code


class NearestGroup(click.Group):
    """A group that answers an unknown command with the nearest one it has."""

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # A shell that asks for completions gets none for a command that does not exist.
        is_asked = not ctx.resilient_parsing and bool(args)
        if is_asked and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            known = [n for n in self.list_commands(ctx) if not self._is_hidden(n)]
            near = difflib.get_close_matches(args[0], known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}."
            raise click.UsageError(f"No such command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def _is_hidden(self, name: str) -> bool:
        return name in self.commands and self.commands[name].hidden
