"""Declares the commands about models on the disk: their words, options and help. Not: their work.

A command imports its work when it runs, as all do (`umad.cli.commands`).
"""

from pathlib import Path
from typing import get_args

import click

from umad.cli.commands import file_option, json_option, socket_option
from umad.cli.completion import names_of
from umad.cli.exits import NearestGroup
from umad.quantization import QuantizeWish

_STORED = names_of("stored", files=True)
_JOBS = names_of("jobs")


@click.command()
@click.argument(
    "models", nargs=-1, required=True, metavar="MODEL...", shell_complete=names_of("catalogue")
)
@click.option("--limit", metavar="RATE", help="Bytes a second, such as 20M.")
@click.option(
    "--parts", type=click.IntRange(1, 16), default=4, show_default=True, help="Ranges at once."
)
@click.option("--keep-free", metavar="SIZE", help="Room to leave on the disk.  [default: 1G]")
@click.option(
    "--quantize",
    type=click.Choice(get_args(QuantizeWish), case_sensitive=False),
    help="Fetch whole weights, and write a smaller copy; auto takes the largest that fits.",
)
@click.option("--background", is_flag=True, help="Hand it to the daemon, print the job, and end.")
@file_option
@socket_option
@json_option
def pull(
    models: tuple[str, ...],
    limit: str | None,
    parts: int,
    keep_free: str | None,
    quantize: str | None,
    background: bool,
    path: Path | None,
    socket: str | None,
    as_json: bool,
) -> None:
    """Fetch MODELs, or what is missing of them: one that was stopped goes on where it was.

    Where a daemon runs, it does the work as a job, which Ctrl-C cancels.

    A MODEL is a name that `umad search` shows (qwen3-coder:30b), a repository of the Hugging Face
    hub (hf:org/repo or hf:org/repo:Q8_0), a model of Ollama's registry (ollama:name:tag), or a file
    that is here (./file.gguf), which is served where it lies.
    """
    from umad.cli.pull import pull as work

    work(
        models,
        path,
        limit=limit,
        parts=parts,
        keep_free=keep_free,
        quantize=quantize,
        background=background,
        socket=socket,
        as_json=as_json,
    )


@click.group(cls=NearestGroup, invoke_without_command=True)
@socket_option
@json_option
@click.pass_context
def jobs(context: click.Context, socket: str | None, as_json: bool) -> None:
    """List the pulls, quantizations and loads of the daemon, the newest first.

    They go on without a terminal, and without the daemon; the next one looks after them.
    """
    context.obj = socket
    if context.invoked_subcommand is None:
        from umad.cli.jobs import jobs as work

        work(socket, as_json=as_json)


@jobs.command("cancel")
@click.argument("job", shell_complete=_JOBS)
@socket_option
@click.pass_obj
def cancel_job(outer: str | None, job: str, socket: str | None) -> None:
    """End JOB. What a pull has fetched stays for the next one."""
    from umad.cli.jobs import cancel as work

    work(job, socket or outer)


@jobs.command("follow")
@click.argument("job", shell_complete=_JOBS)
@socket_option
@json_option
@click.pass_obj
def follow_job(outer: str | None, job: str, socket: str | None, as_json: bool) -> None:
    """Show how far JOB is until it is over. Ctrl-C ends that, and not the job."""
    from umad.cli.jobs import follow_job as work

    work(job, socket or outer, as_json=as_json)


@click.command()
@json_option
def ls(as_json: bool) -> None:
    """List the models of this machine that can be loaded by name.

    They are umad's own, those in the folders of the configuration, and those of Ollama, LM Studio,
    llama.cpp and the Hugging Face cache, which are served where they lie.
    """
    from umad.cli.stored import ls as work

    work(as_json=as_json)


@click.command("show")
@click.argument("model", shell_complete=_STORED)
@click.option("--template", is_flag=True, help="Print the chat template alone.")
@json_option
def show_model(model: str, template: bool, as_json: bool) -> None:
    """Show what is known of MODEL: its files, header and licence, and how much of it would fit."""
    from umad.cli.shown import show as work

    work(model, template=template, as_json=as_json)


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=_STORED)
@socket_option
def rm(models: tuple[str, ...], socket: str | None) -> None:
    """Remove MODELs that umad keeps, and those of their files that no other model has; or presets
    that were saved over HTTP.

    Models of other programs stay: the answer says how to remove them there.
    """
    from umad.cli.stored import rm as work

    work(models, socket)


@click.command()
@click.argument("model", shell_complete=_STORED)
@click.argument("new", metavar="NAME")
def cp(model: str, new: str) -> None:
    """Give MODEL a second NAME. No file is copied."""
    from umad.cli.stored import cp as work

    work(model, new)


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...", shell_complete=_STORED)
@json_option
def verify(models: tuple[str, ...], as_json: bool) -> int:
    """Look whether the files of MODELs (default: of all) are whole; exit 1 where one is not.

    Every byte is read where a checksum is known; elsewhere header and length are compared.
    """
    from umad.cli.stored import verify_models as work

    return work(models, as_json=as_json)


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="WORDS...")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@json_option
def search(words: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Find models for WORDS: in umad's catalogue, then on the Hugging Face hub."""
    from umad.cli.search import search as work

    work(words, limit=limit, as_json=as_json)


MODEL_COMMANDS: tuple[click.Command, ...] = (pull, jobs, ls, show_model, rm, cp, verify, search)
