"""Declares every command: its words, its options and its help. Not: the work of any.

A command imports its work when it runs. So `umad run --help` costs no client, no table and no
daemon, and `umad --help` costs no more than this file (tests/cli/test_help.py). `bench` has a file
of its own, because it makes its commands from a table.
"""

import os
from pathlib import Path
from typing import Any, get_args

import click

from umad.cli.agent_files import AGENT_FILES, OTHER_DIALECTS
from umad.cli.agents import AGENTS
from umad.cli.completion import names_of
from umad.cli.exits import NearestGroup
from umad.cli.flags import FLAGGED, GATEWAY, option_flags
from umad.cli.sampling_flags import sampling_options
from umad.config import KvType
from umad.configuration.meanings import IPC_WORDS
from umad.quantization import QuantizeWish

DEFAULT_GATEWAY = "127.0.0.1:8080"

file_option = click.option(
    "--config",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Configuration file. [env: UMAD_CONFIG]",
)
socket_option = click.option(
    "--socket", metavar="PATH", help="Socket of the daemon. [env: UMAD_SOCKET]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print stable JSON.")
until_stdin_closes = click.option("--until-stdin-closes", is_flag=True, hidden=True)

# -- processes -------------------------------------------------------------------------------------


@click.command(epilog="Every key that `umad config show` lists is a flag too.")
@click.argument(
    "models", nargs=-1, metavar="[MODEL]...", shell_complete=names_of("stored", files=True)
)
@file_option
@option_flags(FLAGGED)
@click.option("--ipc", type=click.Choice(IPC_WORDS), default="uds", help="How clients connect.")
@click.option("--context-shift/--no-context-shift", default=False, hidden=True)
@until_stdin_closes
def serve(**given: Any) -> int:
    """Serve MODELs (default: nano, which ships with umad) to every app of this user."""
    # numpy's OpenBLAS starts a thread for each core, and a daemon never multiplies with numpy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from umad.cli.serve import serve as work

    return work(**given)


@click.command()
@file_option
@option_flags(GATEWAY, show_all=True)
@until_stdin_closes
def gateway(**given: Any) -> int:
    """Serve the OpenAI, Anthropic, Ollama and native HTTP interfaces of the running daemon."""
    from umad.cli.gateway import gateway as work

    return work(**given)


@click.command()
@click.option("--seconds", type=click.FloatRange(1, 3600), default=20.0, show_default=True)
@click.option("--model", default="nano", show_default=True, help="Model to serve.")
def demo(seconds: float, model: str) -> None:
    """Run three chats beside one long job and show what each of them felt."""
    from umad.cli.demo import demo as work

    work(seconds, model)


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="What follows the agent's name is given to the agent: umad launch claude --continue",
)
@click.argument("agent", type=click.Choice([*AGENTS, *AGENT_FILES, *OTHER_DIALECTS]))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--model",
    help="Model for all the agent's roles.  [default: the first loaded]",
    shell_complete=names_of("loaded"),
)
@click.option(
    "--url",
    help="Address of the gateway.  "
    f"[default: http of the configuration, else http://{DEFAULT_GATEWAY}]",
)
@click.option("--print", "only_print", is_flag=True, help="Print the environment, start nothing.")
@file_option
@socket_option
def launch(**given: Any) -> None:
    """Start AGENT (claude, codex, opencode, aider, qwen, goose) against umad.

    crush, zed and code take an address only from a file of theirs: --print prints what to put
    there. A gateway that asks for a key gets the one in UMAD_API_KEY.
    """
    from umad.cli.launch import launch as work

    work(**given)


# -- requests --------------------------------------------------------------------------------------


@click.command()
@click.argument(
    "words",
    nargs=-1,
    metavar="[MODEL] [PROMPT]",
    shell_complete=names_of("loaded", "stored", "catalogue", files=True, at_most=1),
)
@sampling_options
@click.option("--stop", multiple=True, metavar="TEXT", help="End at this text; may be repeated.")
@click.option("--ignore-eos", is_flag=True, help="Go on past the model's own end.")
@click.option("--raw", is_flag=True, help="Complete PROMPT as plain text, without a chat template.")
@click.option("--chat", "as_chat", is_flag=True, help="A chat, whatever the model has.")
@click.option("--system", metavar="TEXT", help="System message; implies --chat.")
@click.option(
    "--format",
    "answer_format",
    metavar="json|FILE",
    help="Answer with JSON: any object, or as the JSON schema in FILE says.",
)
@click.option(
    "--lane",
    metavar="LANE",
    help="interactive, background, or a configured lane.",
    shell_complete=names_of("lanes"),
)
@click.option(
    "--session",
    metavar="NAME",
    help="Keep the context under this name.",
    shell_complete=names_of("sessions"),
)
@click.option("--deadline-ms", type=int, metavar="N", help="Give up after so long.")
@click.option("--image", "images", multiple=True, metavar="FILE", help="An image to ask about.")
@click.option("--audio", "sounds", multiple=True, metavar="FILE", help="A sound to ask about.")
@socket_option
@json_option
def run(**given: Any) -> None:
    """Answer PROMPT and what is piped in; with neither, hold a conversation.

    A model that has a chat template is asked as in a chat; other models go on with the text, as
    --raw makes all of them do. Text that is piped in stands before PROMPT, or in its place where
    PROMPT is missing or a dash.

    A single word is the MODEL when it is `nano`, the path of a GGUF file, or the name of a model
    that is loaded, that `umad ls` lists, or that umad could fetch; anything else is the PROMPT. A
    preset of models.yaml is a MODEL too, with its system prompt, sampling and lane.
    """
    from umad.cli.run import run as work

    work(**given)


@click.command()
@socket_option
@json_option
def ps(socket: str | None, as_json: bool) -> None:
    """Show loaded models, and the requests and sessions on them."""
    from umad.cli.running import ps as work

    work(socket, as_json=as_json)


@click.command()
@socket_option
@click.option(
    "--router",
    metavar="[DIR]",
    is_flag=False,
    flag_value="",
    help="A whole team's; DIR is its router's folder.  [default: router, beside umad.yaml]",
)
def top(socket: str | None, router: str | None) -> int:
    """Show who runs, how it feels and who waits, live; keys cancel, move and unload.

    s says who slows the chosen app, / filters, tab changes tables, q ends it.
    """
    from umad.cli.top.command import top as work

    return work(socket, router)


@click.command()
@click.argument("request", shell_complete=names_of("requests"))
@socket_option
def cancel(request: str, socket: str | None) -> None:
    """End REQUEST, as `umad ps` names it."""
    from umad.cli.running import cancel as work

    work(request, socket)


@click.command()
@click.argument("session", shell_complete=names_of("sessions", "requests"))
@click.argument("lane", shell_complete=names_of("lanes"))
@socket_option
def priority(session: str, lane: str, socket: str | None) -> None:
    """Move SESSION, or a request, to LANE; it counts from the next token."""
    from umad.cli.running import priority as work

    work(session, lane, socket)


@click.command()
@click.argument("session", required=False, shell_complete=names_of("sessions"))
@click.option("--all", "everything", is_flag=True, help="Everything that is kept, of everybody.")
@socket_option
def forget(session: str | None, everything: bool, socket: str | None) -> None:
    """Remove what is kept of SESSION from memory and disk.

    A request that runs in it goes on, and leaves nothing when it ends.
    """
    from umad.cli.running import forget as work

    work(session, everything, socket)


@click.command()
@socket_option
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print a header and one line.")
def metrics(socket: str | None, as_json: bool, as_csv: bool) -> None:
    """Show what every app felt over the last seconds."""
    from umad.cli.metrics import metrics as work

    work(socket, as_json=as_json, as_csv=as_csv)


# -- models ----------------------------------------------------------------------------------------


@click.command()
@click.argument("model", shell_complete=names_of("stored", files=True))
@socket_option
@json_option
def load(model: str, socket: str | None, as_json: bool) -> None:
    """Load MODEL and wait until it answers."""
    from umad.cli.models import load as work

    work(model, socket, as_json=as_json)


@click.command()
@click.argument("model", shell_complete=names_of("loaded"))
@socket_option
def unload(model: str, socket: str | None) -> None:
    """End MODEL's engine; requests that run on it fail."""
    from umad.cli.models import unload as work

    work(model, socket)


@click.command()
@click.argument("model", shell_complete=names_of("stored", "catalogue", files=True))
@click.option("--ctx", "ctx_size", type=click.IntRange(256, 2**24), help="KV cells of the pool.")
@click.option("--seqs", "max_seqs", type=click.IntRange(1, 256), help="Streams at once.")
@click.option("--kv-type", type=click.Choice(get_args(KvType)), help="Type of the KV cells.")
@click.option(
    "--mmproj",
    "projector",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Count a projector's weights, too.",
)
@file_option
@socket_option
@json_option
def estimate(**given: Any) -> int:
    """Show the memory that MODEL would take, part by part, and how many tokens would fit.

    Nothing is loaded. What is not given is as `umad serve` would have it. Exit 1 where a load would
    be refused.
    """
    from umad.cli.estimate import estimate as work

    return work(**given)


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", required=False, type=click.Path(path_type=Path))
@click.option(
    "--type",
    "wish",
    type=click.Choice(get_args(QuantizeWish)),
    default="auto",
    show_default=True,
    help="auto takes the largest that fits this machine with 32,768 tokens.",
)
@click.option("--dry-run", is_flag=True, help="Say how large the file would be, and end.")
@click.option("--again", is_flag=True, help="Take a SOURCE that is quantized already.")
@json_option
def quantize(**given: Any) -> None:
    """Write a smaller copy of the F16, BF16 or F32 model SOURCE to TARGET.

    TARGET is named after SOURCE and the type, unless it is given. It gets its name only after it
    was loaded and has read a short text nearly as well as SOURCE.
    """
    from umad.cli.quantize import quantize as work

    work(**given)


# -- health ----------------------------------------------------------------------------------------


@click.command()
@file_option
@socket_option
@json_option
def doctor(path: Path | None, socket: str | None, as_json: bool) -> int:
    """Look at machine and installation, and say what to mend and how.

    Exit code 1 where something has to be mended. Nothing is changed.
    """
    from umad.cli.doctor import doctor as work

    return work(path, socket, as_json=as_json)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@file_option
@socket_option
def report(file: Path, path: Path | None, socket: str | None) -> None:
    """Write FILE for a bug report: findings and figures, nothing private."""
    from umad.cli.doctor import report as work

    work(file, path, socket)


# -- settings --------------------------------------------------------------------------------------


@click.group(cls=NearestGroup)
def config() -> None:
    """Show or check the configuration, or print an example of it."""


@config.command()
@file_option
@json_option
def show(path: Path | None, as_json: bool) -> None:
    """Print every option with its value and where that comes from, as a configuration file."""
    from umad.cli.config import show as work

    work(path, as_json=as_json)


@config.command()
@file_option
def check(path: Path | None) -> None:
    """Exit 0 when the configuration is good; say what is wrong and exit 2 otherwise."""
    from umad.cli.config import check as work

    work(path)


@config.command()
def example() -> None:
    """Print a configuration file with every option, its unit, default and effect."""
    from umad.cli.config import example as work

    work()


COMMANDS: tuple[click.Command, ...] = (
    serve,
    gateway,
    demo,
    launch,
    run,
    ps,
    top,
    cancel,
    priority,
    forget,
    metrics,
    load,
    unload,
    estimate,
    quantize,
    doctor,
    report,
    config,
)
