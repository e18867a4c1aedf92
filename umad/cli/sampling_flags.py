"""Declares the flags that say how a model draws its tokens. Not: their meaning (`umad.request`)."""

from collections.abc import Callable
from typing import Any

import click

SAMPLING: tuple[tuple[str, type, str], ...] = (
    ("max_tokens", int, "Stop after so many tokens."),
    ("temperature", float, "0 always takes the likeliest token."),
    ("top_k", int, "Draw from the K likeliest tokens; 0 is off."),
    ("top_p", float, "Draw from the likeliest tokens that make up P; 1 is off."),
    ("min_p", float, "Drop tokens below P times the likeliest; 0 is off."),
    ("typical_p", float, "Draw from the most typical tokens that make up P; 1 is off."),
    ("repetition_penalty", float, "Divide the logits of tokens seen lately; 1 is off."),
    ("frequency_penalty", float, "Subtract per occurrence; 0 is off."),
    ("presence_penalty", float, "Subtract once seen; 0 is off."),
    ("seed", int, "Draw the same tokens again."),
    ("logprobs", int, "Report so many alternatives per token (with --json)."),
)


def sampling_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags of `SAMPLING`."""
    for name, kind, text in reversed(SAMPLING):
        command = click.option("--" + name.replace("_", "-"), name, type=kind, help=text)(command)
    return command
