"""Declares `umad scale` and its commands: their words, options and help. Not: their work.

A command imports its work when it runs, as all do (`umad.cli.commands`).
"""

from typing import Any

import click

from umad.cli.commands import file_option, json_option
from umad.cli.exits import NearestGroup


@click.group(cls=NearestGroup)
def scale() -> None:
    """Hand a model over to an engine that splits it over many accelerators."""


@scale.command()
@click.argument("model")
@click.argument("accelerators", metavar="NAME[:COUNT]")
@click.option(
    "--engine",
    type=click.Choice(("vllm", "sglang")),
    default="vllm",
    show_default=True,
    help="Whose rules and defaults are followed.",
)
@click.option("--nodes", type=int, default=1, show_default=True, help="Machines of COUNT each.")
@click.option(
    "--ctx", "context_tokens", type=int, default=0, help="Tokens of one text.  [default: most]"
)
@click.option(
    "--quantization", default="", metavar="NAME", help="The engine's name.  [default: the files']"
)
@click.option("--kv-dtype", default="auto", metavar="auto|fp8", help="Type of the KV cache.")
@click.option("--tp", type=int, default=0, help="Tensor parallelism.  [default: chosen]")
@click.option("--pp", type=int, default=0, help="Pipeline stages.  [default: chosen]")
@click.option("--dp", type=int, default=0, help="Copies.  [default: chosen]")
@click.option("--ep/--no-ep", "by_expert", default=None, help="Whole experts on each accelerator.")
@click.option("--draft", metavar="MODEL", help="A draft model for speculation.")
@click.option(
    "--draft-method", default="", metavar="eagle3|eagle|draft_model", help="How it drafts."
)
@click.option("--draft-tokens", type=click.IntRange(1, 64), default=3, show_default=True)
@click.option(
    "--memory-share", "share", type=float, default=0.0, help="What the engine may take, 0 to 1."
)
@click.option("--offline", is_flag=True, help="Ask nobody: files, and models that umad knows.")
@file_option
@json_option
def plan(**given: Any) -> int:
    """Say how MODEL is split over accelerators, what it takes, and how it is started.

    MODEL is a repository of the Hugging Face hub (org/repo), a config.json or a folder with one, a
    GGUF file, or a name that umad knows. Accelerators are written as SkyPilot has them, such as
    A100-80GB:2. Nothing is fetched but config.json. Exit 1 where it does not fit; the error says
    what would.
    """
    from umad.cli.scale import plan as work

    return work(**given)
