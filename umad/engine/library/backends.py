"""Hands the option `backends` to every process that computes, in the environment.

These are files of ggml's backends, for a GPU mostly, that are loaded beside those that the library
has itself. The variable is the option's own, so that a process finds the same there whether the
user has set it or the command line. Not: loading them
(`umad.engine.llamacpp.library_binding`). Owner: the main thread of a process, before it starts
others.
"""

import json
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

import yaml

OPTION = "backends"
VARIABLE = f"UMAD_{OPTION.upper()}"


def use_backends(paths: Sequence[str], environ: MutableMapping[str, str]) -> None:
    """Leave the files in `environ` for this process and its children."""
    if paths:
        # A list in brackets: a path may have a comma in it.
        environ[VARIABLE] = json.dumps([str(Path(one).expanduser().absolute()) for one in paths])
    else:
        environ.pop(VARIABLE, None)


def named_backends(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The files, in the order in which they are loaded."""
    text = environ.get(VARIABLE, "").strip()
    if not text.startswith("["):
        return tuple(one.strip() for one in text.split(",") if one.strip())
    # Users write it as they would in their file.
    return tuple(str(one) for one in yaml.safe_load(text))
