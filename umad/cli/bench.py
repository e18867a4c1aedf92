"""Runs `umad bench`: the published benchmarks of a source checkout.

The benchmarks build peers, make models and compare; they are not installed with umad. This command
finds the checkout it runs from and becomes `python -m bench`. Not: measuring.
"""

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from umad.cli.exits import NearestGroup
from umad.errors import BadRequest
from umad.isolated import absolute_folders

_CHECKOUT = Path(__file__).resolve().parents[2]
# What the benchmarks import beside umad's own dependencies; the `bench` extra brings them.
_NEEDS = ("gguf",)
_PASSED_ON = {"ignore_unknown_options": True, "help_option_names": []}


@click.group(cls=NearestGroup)
def bench() -> None:
    """Measure umad beside llama.cpp's own servers (needs a source checkout).

    --json prints one JSON document, --charts DIR writes it with charts of it; a benchmark lists
    its own options with --help.
    """


def _command(name: str, summary: str) -> None:
    @bench.command(name, help=summary, add_help_option=False, context_settings=_PASSED_ON)
    @click.argument("options", nargs=-1, type=click.UNPROCESSED)
    def run(options: tuple[str, ...]) -> None:
        become(_CHECKOUT, [name, *options])


for _name, _summary in (
    ("mixed", "What interactive clients feel beside long prompts."),
    ("longctx", "Decode speed deep in a long context, by type of the KV cache."),
    ("overhead", "First token and CPU per token of a single stream."),
    ("four-apps", "What four apps get together, and the memory it takes."),
):
    _command(_name, _summary)


def become(checkout: Path, arguments: Sequence[str]) -> None:
    """Replaces this process by the benchmark, which keeps its terminal, signals and exit code.

    Raises `BadRequest` where there is no checkout, or not what the benchmarks need.
    """
    if not (checkout / "bench" / "__main__.py").is_file():
        raise BadRequest(
            "umad bench runs from a source checkout, and this umad is installed without one: "
            "clone umad's repository and run `make bench` there"
        )
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise BadRequest(
            f"umad bench needs {', '.join(missing)}: pip install -e '{checkout}[bench]'"
        )
    path = os.pathsep.join(
        filter(None, (str(checkout), absolute_folders(os.environ.get("PYTHONPATH", ""))))
    )
    # -P: a folder `bench` where the user stands is not ours.
    command = [sys.executable, "-P", "-m", "bench", *arguments]
    sys.stdout.flush()
    os.execve(command[0], command, os.environ | {"PYTHONPATH": path})
