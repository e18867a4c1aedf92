"""Defines the root command and the process's entry.

Not: the commands (`umad.cli.commands`, `umad.cli.model_commands`, `umad.cli.service_commands`,
`umad.cli.editor_commands`, `umad.cli.router_commands`, `umad.cli.scale_commands`,
`umad.cli.speech_commands`), nor their work.
"""

import os
import sys
from collections.abc import Sequence

import click

from umad.cli.bench import bench
from umad.cli.commands import COMMANDS
from umad.cli.completion import COMPLETE_VARIABLE, answer, completion
from umad.cli.editor_commands import EDITOR_COMMANDS
from umad.cli.exits import NearestGroup, run_command
from umad.cli.model_commands import MODEL_COMMANDS
from umad.cli.router_commands import node, router
from umad.cli.scale_commands import scale
from umad.cli.service_commands import service
from umad.cli.speech_commands import transcribe
from umad.version import __version__


@click.group(
    cls=NearestGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
def umad() -> None:
    """One daemon, one mapped model, every app on the machine.

    Start with `umad serve`, then `umad run`; `umad demo` shows what it is for.
    """


for _command in (
    *COMMANDS,
    *MODEL_COMMANDS,
    *EDITOR_COMMANDS,
    service,
    bench,
    completion,
    node,
    router,
    scale,
    transcribe,
):
    umad.add_command(_command)


def open_missing_streams() -> None:
    """Opens stdin, stdout and stderr on the null device where the parent process closed them (`umad
    serve 2>&-`). Otherwise the next file or socket opened would get their numbers, and with them
    whatever is written to stderr.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free number
            if null != number:
                os.dup2(null, number)
                os.close(null)
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115  # stays
            setattr(sys, name, stream)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        # A model may write characters that the terminal's encoding lacks: `?` is better than an
        # error.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    instruction = os.environ.pop(COMPLETE_VARIABLE, None)
    if instruction is not None:
        return answer(umad, instruction)
    return run_command(umad, sys.argv[1:] if args is None else args)
