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
from dataclasses import dataclass

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
# What it obeys in double quotes all the same.
_IN_DOUBLE = re.compile(r"([\"$`\\])")
_OPTION = re.compile(r"-[^=]*=")
# A word that readline begins at one of these has it in it (bash's rl_special_prefixes).
_LEFT_IN_WORD = "$@"
_QUIET = "%(prog_name)s 2>/dev/null"


def _changed(template: str, old: str, new: str) -> str:
    """Click's own script with one change; a script of another click is left as it is."""
    return template.replace(old, new) if template.count(old) == 1 else template


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
        if not words or not _last_word(line, "").is_begun:
            return words, ""
        return words[:-1], words[-1]

    @override
    def complete(self) -> str:
        args, typed = self.get_completion_args()
        last = _last_word(os.environ.get("COMP_LINE", ""), os.environ.get("COMP_WORDBREAKS", ""))
        # Click completes what follows the sign of an option.
        option = "".join(typed.partition("=")[:2]) if _OPTION.match(typed) else ""
        found = self.get_completions(args, typed)
        return "\n".join([self._formed(item, option, last) for item in found])

    def _formed(self, item: "CompletionItem[str]", option: str, last: "_LastWord") -> str:
        if item.type != "plain":
            return f"{item.type}\t"
        return f"{item.type}\t{_in_quotes((option + item.value)[last.kept :], last.quote)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _LastWord:
    """The word before the cursor, as bash and readline see it."""

    # False between two words.
    is_begun: bool
    # The characters of it, without quotes, that readline has set apart and keeps.
    kept: int
    # The quote that is open; empty for none.
    quote: str


def _last_word(line: str, breaks: str) -> _LastWord:
    """breaks: COMP_WORDBREAKS. At one of these, and at an open quote, readline begins a word."""
    is_begun, size, kept, quote = False, 0, 0, ""
    signs = iter(line)
    for sign in signs:
        if sign in " \t\n" and not quote:
            is_begun, size, kept = False, 0, 0
            continue
        is_begun = True
        if sign == quote:
            quote = ""
        elif not quote and sign in "\"'":
            quote, kept = sign, size
        else:
            is_plain = not quote
            if sign == "\\" and quote != "'" and next(signs, None) is not None:
                is_plain = False
            size += 1
            if is_plain and sign in breaks:
                kept = size - (sign in _LEFT_IN_WORD)
    return _LastWord(is_begun=is_begun, kept=kept, quote=quote)


def _in_quotes(text: str, quote: str) -> str:
    """`text` as it has to stand in that quote."""
    if quote == "'":
        return text.replace("'", r"'\''")
    return (_IN_DOUBLE if quote else _SPECIAL).sub(r"\\\1", text)


class Zsh(ZshComplete):
    """Completion for zsh, into whose line nothing is written either."""

    source_template = _changed(ZshComplete.source_template, "%(prog_name)s)}", _QUIET + ")}")


class Fish(FishComplete):
    """Completion for fish, with names and descriptions that have a comma."""

    source_template = _changed(
        _changed(FishComplete.source_template, 'string split ","', 'string split -m 1 ","'),
        "%(prog_name)s);\n",
        _QUIET + ");\n",
    )


SHELLS: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}


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
