"""Declares `umad scale` and its commands: their words, options and help. Not: their work.

A command imports its work when it runs, as all do (`umad.cli.commands`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from umad.cli.commands import file_option, json_option
from umad.cli.exits import NearestGroup

_PLAN_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--nodes", type=int, default=1, show_default=True, help="Machines of COUNT each."),
    click.option(
        "--ctx", "context_tokens", type=int, default=0, help="Tokens of one text.  [default: most]"
    ),
    click.option(
        "--quantization",
        default="",
        metavar="NAME",
        help="The engine's name.  [default: the files']",
    ),
    click.option("--kv-dtype", default="auto", metavar="auto|fp8", help="Type of the KV cache."),
    click.option("--tp", type=int, default=0, help="Tensor parallelism.  [default: chosen]"),
    click.option("--pp", type=int, default=0, help="Pipeline stages.  [default: chosen]"),
    click.option("--dp", type=int, default=0, help="Copies.  [default: chosen]"),
    click.option(
        "--ep/--no-ep", "by_expert", default=None, help="Whole experts on each accelerator."
    ),
    click.option("--draft", metavar="MODEL", help="A draft model for speculation."),
    click.option(
        "--draft-method", default="", metavar="eagle3|eagle|draft_model", help="How it drafts."
    ),
    click.option("--draft-tokens", type=click.IntRange(1, 64), default=3, show_default=True),
    click.option(
        "--memory-share", "share", type=float, default=0.0, help="What the engine may take, 0 to 1."
    ),
    click.option("--offline", is_flag=True, help="Ask nobody: files, and models that umad knows."),
)


def _plan_options(command: Any) -> Any:
    """The options of a plan, in this order in a command's help."""
    for one in reversed(_PLAN_OPTIONS):
        command = one(command)
    return command


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
@_plan_options
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


@scale.command()
@click.argument("model")
@click.argument("accelerators", metavar="[NAME[:COUNT]]", default="")
@click.option(
    "--engine",
    type=click.Choice(("vllm", "sglang", "umad")),
    default="vllm",
    show_default=True,
    help="What serves it; umad with --local alone.",
)
@_plan_options
@click.option("--name", default="", help="Of the deployment.  [default: from the model's]")
@click.option("--infra", default="", metavar="CLOUD[/REGION]", help="Where; ssh/POOL is your own.")
@click.option("--spot", is_flag=True, help="Take machines that may be taken away, where there are.")
@click.option("--service", is_flag=True, help="Several machines behind SkyServe's balancer.")
@click.option("--replicas", type=int, default=1, show_default=True, help="Machines of a service.")
@click.option("--plain-hop", is_flag=True, help="A service's balancer may speak plain HTTP inside.")
@click.option(
    "--idle",
    type=int,
    default=30,
    show_default=True,
    metavar="MINUTES",
    help="Without a request it ends.",
)
@click.option("--hours", type=float, default=0.0, help="It ends after so many.")
@click.option("--money", type=float, default=0.0, help="It ends before it costs more, in dollars.")
@click.option("--cache", default="", metavar="volume:NAME|bucket:NAME", help="Where weights stay.")
@click.option(
    "--disk", "disk_gb", type=int, default=0, metavar="GB", help="Disk.  [default: by weights]"
)
@click.option("--allow", multiple=True, metavar="NETWORK", help="Who may connect; again for more.")
@click.option(
    "--keys",
    "key_names",
    default="default",
    show_default=True,
    metavar="A,B",
    help="Names of API keys.",
)
@click.option("--join", is_flag=True, help="Be a node of the router's team, and of nobody else.")
@click.option(
    "--folder", metavar="DIR", type=click.Path(path_type=Path), help="Folder of that router."
)
@click.option("--log-requests", "logs_requests", is_flag=True, help="Let the engine log requests.")
@click.option("--print", "only_prints", is_flag=True, help="Print SkyPilot's task, and end.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Do all but renting.")
@click.option("--yes", "is_sure", is_flag=True, help="Rent without asking.")
@click.option("--local", "is_local", is_flag=True, help="Start it on this machine: no cloud.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="With --local.  [default: any]"
)
@file_option
def launch(**given: Any) -> int:
    """Rent a machine through SkyPilot and serve MODEL on it, as `umad scale plan` says.

    The machine has TLS, API keys and bounds of its own, and ends by itself: without requests for
    long, and when its budget is spent. With --local the engine starts on this machine instead, and
    MODEL is a folder here.
    """
    from umad.cli.scale_launch import launch as work

    return work(**given)


@scale.command()
@click.argument("name", required=False)
@json_option
def status(**given: Any) -> int:
    """Show what was launched: state, address, cost, and tokens of each key."""
    from umad.cli.scale_running import status as work

    return work(**given)


@scale.command()
@click.argument("name")
def down(**given: Any) -> None:
    """End NAME: it leaves the team, its machine is given back, and its keys are forgotten."""
    from umad.cli.scale_running import down as work

    work(**given)


@scale.command()
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(1, 45),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How often each is looked at.",
)
@click.option("--once", "is_once", is_flag=True, help="Look once, and end.")
def watch(**given: Any) -> None:
    """Take what is healthy into the router's team and what is not out of it, until this ends.

    A spot machine that was taken away is rented anew, and a service whose budget is spent is ended.
    A machine that was rented ends by itself, watched or not.
    """
    from umad.cli.scale_running import watch as work

    work(**given)
