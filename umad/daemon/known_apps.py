"""Knows the lanes of well-known programs, so that nobody has to configure them.

Editors and terminals have a person in front of them. What git, cron, a CI runner or an indexer
starts has none. A program is known by the name of its process, or by that of the nearest process
above it: a hook's script is `python3`, and only `git` above it says what it is.

The table is a default: what a request, a session or `apps:` says goes before it, and only
`default_lane` comes after it (`umad.daemon.identity`). Not: asking for names (`umad.daemon.peer`).
Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from umad.request import BACKGROUND, INTERACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKind:
    """One kind of program."""

    # In the words of `umad ps`.
    words: str
    lane: str
    # Patterns of process names in small letters; * and ? match.
    names: tuple[str, ...]


# Names as the system tells them: Linux has that of the file, macOS that of the program, with
# spaces. A name that means different things on different machines is left out (`node`, `python3`,
# `java`, `sshd`, `systemd`): the nearest known process above it decides.
KINDS: tuple[KnownKind, ...] = (
    KnownKind(
        words="an editor",
        lane=INTERACTIVE,
        names=(
            *("code", "code-insiders", "code - insiders*", "code helper*", "code-tunnel"),
            *("codium", "vscodium", "codium helper*", "vscodium helper*"),
            *("cursor", "cursor helper*", "windsurf", "windsurf helper*"),
            *("zed", "zed-editor", "zeditor", "nvim", "vim", "vim.*", "vi", "gvim", "neovide"),
            *("emacs", "emacs-*", "emacsclient", "hx", "helix", "kak", "micro", "lapce"),
            *("sublime_text", "subl", "gedit", "gnome-text-edit*", "kate", "kwrite", "geany"),
            *("idea", "idea64", "pycharm", "pycharm64", "webstorm", "goland", "clion", "rider"),
            *("rubymine", "phpstorm", "rustrover", "datagrip", "fleet", "studio", "xcode"),
            *("rstudio", "obsidian", "jupyter-lab"),
            # As editors call themselves where umad lsp, umad acp or the extension asks for them.
            *("vscode", "visual studio code", "neovim", "eglot", "sublime text*"),
        ),
    ),
    KnownKind(
        words="a terminal",
        lane=INTERACTIVE,
        names=(
            *("gnome-terminal*", "kgx", "ptyxis*", "konsole", "xterm", "uxterm", "urxvt*", "st"),
            *("kitty", "alacritty", "wezterm", "wezterm-gui", "foot", "footclient", "ghostty"),
            *("tilix", "terminator", "xfce4-terminal", "lxterminal", "qterminal", "mate-terminal"),
            *("terminal", "iterm2", "itermserver*", "warp", "warp-terminal", "tabby", "hyper"),
            *("tmux", "tmux: *", "tmux-*", "screen", "zellij", "mosh-server"),
        ),
    ),
    KnownKind(
        words="a git hook",
        lane=BACKGROUND,
        # Not every git-…: git-gui and git-cola have a person in front of them.
        names=(
            *("git", "git-lfs", "git-remote-*", "git-upload-pack", "git-receive-pack"),
            *("pre-commit", "lefthook"),
        ),
    ),
    KnownKind(
        words="a timed job",
        lane=BACKGROUND,
        names=("cron", "crond", "anacron", "fcron", "atd", "atrun"),
    ),
    KnownKind(
        words="a CI job",
        lane=BACKGROUND,
        names=(
            *("runner.listener", "runner.worker", "gitlab-runner", "gitlab-ci-*", "act"),
            *("act_runner", "forgejo-runner", "woodpecker-agent", "drone-runner-*"),
            *("buildkite-agent", "circleci-agent", "agent.worker", "agent.listener"),
        ),
    ),
    KnownKind(
        words="an indexer",
        lane=BACKGROUND,
        names=(
            *("tracker-miner-*", "tracker-extract*", "localsearch-*", "baloo_file*"),
            *("mds", "mds_stores", "mdworker*", "recollindex", "updatedb*", "plocate*", "ctags"),
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A program of the table."""

    # The name of its process.
    name: str
    kind: KnownKind


# Looked up for each request that no rule decides, and most of them come from the same few programs.
@lru_cache(maxsize=1024)
def known_app(name: str) -> Known | None:
    """The program of that process name; None where the table has none."""
    small = name.lower()
    for kind in KINDS:
        if any(fnmatchcase(small, pattern) for pattern in kind.names):
            return Known(name=name, kind=kind)
    return None


def nearest_known(names: Iterable[str]) -> Known | None:
    """The first of `names` that the table has."""
    return next((found for name in names if (found := known_app(name)) is not None), None)
