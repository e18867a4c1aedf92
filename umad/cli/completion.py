"""Completes words in a shell: `umad completion SHELL`, and the answers to the script it prints.

The script asks `umad` itself, with `COMPLETE_VARIABLE` set, at each press of the tab key. So it
never goes stale: commands, options, models, sessions and lanes are those of this moment. An answer
that fails is an empty one, because nothing may be written into a line that a person types.
Not: the names (`umad.cli.known_names`, imported when one is asked for).
"""

import logging
import os
import re
from collections.abc import Callable, Sequence

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    split_arg_string,
)
from typing_extensions import override

from umad.errors import UmadError
from umad.exit_codes import DONE, FAILED, USAGE

COMPLETE_VARIABLE = "_UMAD_COMPLETE"
PROGRAM = "umad"
SHELL_NAMES = ("bash", "zsh", "fish")
_log = logging.getLogger(__name__)

# Click's own script hands over bash's words, which bash has split at each colon. Names of models
# have colons, so this one hands over the line. macOS has bash 3.2, which knows neither compopt nor
# nosort.
_BASH = """\
%(complete_func)s() {
    local type value
    COMPREPLY=()
    while IFS=$'\\t' read -r type value; do
        case $type in
            plain) COMPREPLY+=("$value") ;;
            file) compopt -o default 2>/dev/null ;;
            dir) compopt -o dirnames 2>/dev/null ;;
        esac
    done < <(COMP_LINE="${COMP_LINE:0:$COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null \\
    || complete -F %(complete_func)s %(prog_name)s
"""
# What a shell takes as part of a word, without quotes.
_SPECIAL = re.compile(r"([^\w@%+:,./=~-])")


class Bash(BashComplete):
    """Completion for bash, from the line as it was typed."""

    source_template = _BASH

    @override
    def source(self) -> str:
        # Click's looks first for the version of bash that runs here.
        return self.source_template % self.source_vars()

    @override
    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ.get("COMP_LINE", "")
        words = split_arg_string(line)[1:]
        if not words or (line.endswith((" ", "\t")) and not line.endswith("\\ ")):
            return words, ""
        return words[:-1], words[-1]

    @override
    def complete(self) -> str:
        args, typed = self.get_completion_args()
        kept = _kept_by_bash(typed, os.environ.get("COMP_WORDBREAKS", ""))
        found = self.get_completions(args, typed)
        return "\n".join([self._formed(item, kept) for item in found])

    def _formed(self, item: "CompletionItem[str]", kept: int) -> str:
        if item.type != "plain":
            return f"{item.type}\t"
        return f"{item.type}\t" + _SPECIAL.sub(r"\\\1", item.value[kept:])


def _kept_by_bash(typed: str, breaks: str) -> int:
    """How much of the value bash has set apart already, and so keeps: all up to its last colon."""
    if typed.startswith("-") and "=" in typed:
        typed = typed.partition("=")[2]
    return typed.rfind(":") + 1 if ":" in breaks else 0


SHELLS: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(SHELL_NAMES))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes umad's words in SHELL.

    \b
    bash:  eval "$(umad completion bash)"              in ~/.bashrc
    zsh:   eval "$(umad completion zsh)"               in ~/.zshrc, after compinit
    fish:  umad completion fish | source               in ~/.config/fish/config.fish
    """
    root = context.find_root().command
    click.echo(SHELLS[shell](root, {}, PROGRAM, COMPLETE_VARIABLE).source(), nl=False)


def answer(root: click.Command, instruction: str) -> int:
    """Answer a script. instruction: what it put into `COMPLETE_VARIABLE`. Returns the exit code."""
    shell, _, what = instruction.partition("_")
    kind = SHELLS.get(shell)
    if kind is None or what != "complete":
        return USAGE
    try:
        found = kind(root, {}, PROGRAM, COMPLETE_VARIABLE).complete()
    except (UmadError, click.ClickException, OSError, ValueError, LookupError):
        _log.debug("completion failed", exc_info=True)
        return FAILED
    if found:
        click.echo(found)
    return DONE


Complete = Callable[[click.Context, click.Parameter, str], "list[CompletionItem[str]]"]


def names_of(*kinds: str, files: bool = False, at_most: int | None = None) -> Complete:
    """What completes a parameter: names of these kinds (`umad.cli.known_names.KINDS`).

    files: paths too. at_most: how many words the parameter has that are such names; further ones
    are something else.
    """

    def complete(
        context: click.Context, parameter: click.Parameter, typed: str
    ) -> "list[CompletionItem[str]]":
        given: Sequence[str] = ()
        if at_most is not None:
            given = context.params.get(parameter.name or "") or ()
        if at_most is not None and len(given) >= at_most:
            return []
        if files and typed.startswith((".", "/", "~")):
            return [CompletionItem(typed, type="file")]
        from umad.cli.known_names import known_names

        return [
            CompletionItem(name)
            for name in known_names(kinds, context.params.get("socket"))
            if name.startswith(typed)
        ]

    return complete
