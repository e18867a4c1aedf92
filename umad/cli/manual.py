"""Writes the manual page umad(1) from the commands, in roff. `make manual` writes docs/umad.1.

Each command's words, options and help are those that `--help` prints, so neither can differ from
the other; a test holds the file against the commands. Not installed as a command: the wheel brings
the page. Pure but for `python -m umad.cli.manual`, which prints it.
"""

import re
import sys
from collections.abc import Iterator

import click

from umad.cli.app import umad
from umad.version import __version__

_EXIT_STATUS = (
    ("0", "Done."),
    ("1", "The request failed, or the doctor found something to mend."),
    ("2", "Wrong usage, or a configuration that cannot be read."),
    ("3", "No daemon listens on the socket."),
    ("4", "Refused: another user's socket, a missing right, or a limit."),
    ("130", "Interrupted."),
)
_ENVIRONMENT = (
    ("UMAD_SOCKET", "Socket of the daemon."),
    ("UMAD_CONFIG", "Configuration file."),
    ("UMAD_MODELS", "Folder of umad's own models."),
    ("UMAD_API_KEY", "Key that umad launch hands to an agent."),
    ("UMAD_...", "Every key of the configuration, as umad config example names it."),
    ("NO_COLOR", "No command uses colour where it is set."),
)
_FILES = (
    ("~/.config/umad/umad.yaml", "The configuration (macOS: in Library/Application Support/umad)."),
    ("~/.config/umad/models.yaml", "Your own models, aliases and presets."),
    ("$XDG_RUNTIME_DIR/umad/umad.sock", "The socket, where that folder exists."),
    ("~/.local/state/umad/umad.sock", "The socket elsewhere."),
)


def manual_page(root: click.Group = umad) -> str:
    """The whole page."""
    return "\n".join(_lines(root)) + "\n"


def _lines(root: click.Group) -> Iterator[str]:
    yield '.\\" Written by `make manual` from the commands. Do not edit.'
    yield f'.TH UMAD 1 "" "umad {__version__}" "User Commands"'
    yield ".SH NAME"
    yield r"umad \- one daemon, one mapped model, every app on the machine"
    yield ".SH SYNOPSIS"
    yield r".B umad"
    yield r"\fICOMMAND\fR [\fIOPTION\fR]... [\fIARGUMENT\fR]..."
    yield ".SH DESCRIPTION"
    yield from _paragraphs(root.help or "")
    yield ".SH COMMANDS"
    context = click.Context(root, info_name="umad", **root.context_settings)
    for name in root.list_commands(context):
        yield from _command(root.commands[name], name, context)
    yield ".SH EXIT STATUS"
    yield from _entries(_EXIT_STATUS)
    yield ".SH ENVIRONMENT"
    yield from _entries(_ENVIRONMENT)
    yield ".SH FILES"
    yield from _entries(_FILES)


def _command(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    """A command and its options; of a group, each of its commands."""
    if command.hidden:
        return
    context = click.Context(command, info_name=name, parent=parent)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _command(command.commands[inner], inner, context)
        return
    usage = " ".join((context.command_path, *command.collect_usage_pieces(context)))
    yield f".SS {_escaped(usage)}"
    yield from _paragraphs(command.help or "")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        # An argument without a help of its own stands in the usage already.
        if record is not None and record[1]:
            yield from _entries((record,))
    yield from _paragraphs(command.epilog or "")


def _entries(pairs: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for term, text in pairs:
        yield ".TP"
        yield rf"\fB{_escaped(term)}\fR"
        yield _safe(_escaped(" ".join(text.split())))


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs as click writes them; one that begins with a backspace keeps its lines."""
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in block.splitlines()]
        if not any(lines):
            continue
        yield ".PP"
        if lines[0] == "\b":
            yield ".nf"
            yield from (_safe(_escaped(line)) for line in lines[1:])
            yield ".fi"
        else:
            yield _safe(_escaped(" ".join(lines)))


def _escaped(text: str) -> str:
    """`text` with nothing in it that roff would obey, and hyphens that can be copied."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace("\b", "")


def _safe(line: str) -> str:
    """`line`, at whose beginning a dot or an apostrophe is no request."""
    return rf"\&{line}" if line.startswith((".", "'")) else line


if __name__ == "__main__":
    sys.stdout.write(manual_page())
