"""Runs `umad run [MODEL] [PROMPT]`: one answer to a prompt and what is piped in, or a conversation.

It is only a client: it starts no daemon, and Ctrl-C ends the request alone. Not: the conversation
itself (`umad.cli.chat`).
"""

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from umad.adapters import parted
from umad.cli.answer_form import constraint_of
from umad.cli.chat import converse
from umad.cli.connect import connect
from umad.cli.here import is_model as is_model_here
from umad.cli.here import preset
from umad.cli.piped import joined, piped_text
from umad.cli.stream import stream
from umad.cli.talk import Talk
from umad.client.pictures import Audio, Image
from umad.content import MediaFile
from umad.errors import BadRequest, UnknownModel
from umad.model_names import KnownModel, resolve
from umad.nano import NAME
from umad.request import GenerateRequest, SamplingParams
from umad.service import Service

# A prompt that stands for what is piped in, as many programs have it.
STDIN = "-"


def run(
    words: tuple[str, ...],
    stop: tuple[str, ...],
    ignore_eos: bool,
    raw: bool,
    as_chat: bool,
    system: str | None,
    answer_format: str | None,
    lane: str | None,
    session: str | None,
    deadline_ms: int | None,
    images: tuple[str, ...],
    sounds: tuple[str, ...],
    socket: str | None,
    as_json: bool,
    **sampled: Any,
) -> None:
    """Answer a prompt, what is piped in, or both; with neither, hold a conversation."""
    if len(words) > 2:
        raise click.UsageError("put the prompt in quotes: umad run [MODEL] [PROMPT].")
    chosen = preset(words[0]) if words else None
    given = {name: value for name, value in sampled.items() if value is not None}
    if chosen is not None:
        words = (chosen.model, *words[1:])
        given = {**chosen.sampling, **given}
        stop = stop or given.get("stop", ())
        system = chosen.system or None if system is None and not raw else system
        lane = lane or chosen.lane or None
        ignore_eos = ignore_eos or given.pop("ignore_eos", False)
    given.pop("stop", None)
    as_chat = as_chat or system is not None
    if raw and (images or sounds):
        raise click.UsageError("--image and --audio are for chats; leave out --raw.")
    files = tuple(_opened(images, sounds))
    as_chat = as_chat or bool(files)
    if raw and as_chat:
        raise click.UsageError("choose one of --raw and --chat (which --system implies).")
    sampling = SamplingParams(stop=stop, ignore_eos=ignore_eos, **given)
    sampling.check()
    constraint = None if answer_format is None else constraint_of(answer_format)

    # A runner, not one `asyncio.run`: stdin is read between two runs, where Ctrl-C still works.
    with asyncio.Runner() as runner, connect(runner, socket) as client:
        sorting = partial(_sort_out, client, words, is_model=chosen is not None)
        try:
            model, prompt = runner.run(sorting())
        except UnknownModel:
            # A person may fetch it now; a program gets the error, which says how.
            if not _fetched(words[0]):
                raise
            model, prompt = runner.run(sorting())
        wants_stdin = prompt == STDIN
        prompt = None if wants_stdin else prompt
        if wants_stdin or not sys.stdin.isatty():
            prompt = joined(piped_text(has_prompt=prompt is not None), prompt)
            if not prompt:
                raise BadRequest("stdin is empty; pipe a prompt in or give one: umad run PROMPT")
        template = None if raw or as_chat else runner.run(_has_template(client, model))
        talk = Talk(
            request=GenerateRequest(
                model=model,
                sampling=sampling,
                constraint=constraint,
                lane=lane,
                session=session,
                deadline_ms=deadline_ms,
            ),
            system=system,
            files=files,
        )
        if prompt is None:
            talk.raw = raw or template is False
            if template is False:
                click.echo("It has no chat template: it goes on with each line.", err=True)
            converse(runner, client, talk, as_json=as_json)
            return
        talk.raw = not (as_chat or template)
        runner.run(stream(client, talk.asking(prompt), as_json=as_json))


def _opened(images: tuple[str, ...], sounds: tuple[str, ...]) -> Iterator[MediaFile]:
    """The files of `--image` and `--audio`, opened here and not by the daemon."""
    for flag, opener, paths in (("image", Image.open, images), ("audio", Audio.open, sounds)):
        for path in paths:
            try:
                yield replace(opener(Path(path).expanduser()), place=path)
            except OSError as error:
                raise BadRequest(
                    f"--{flag} {path}: {error.strerror or error}", field=flag
                ) from error


def _fetched(word: str) -> bool:
    """Offer to fetch a model; True where the person wanted it and it is here now."""
    from umad.cli.pull import offer  # noqa: PLC0415  (what it imports takes half a second)

    return offer(word)


async def _sort_out(
    client: Service, words: tuple[str, ...], *, is_model: bool
) -> tuple[str | None, str | None]:
    """(model, prompt) of the words; a model that is named and not loaded is loaded. is_model: the
    first word surely is one.
    """
    if not words:
        return None, None
    word, prompt = words[0], words[1] if words[1:] else None
    path = _file_of(word)
    rows = await client.models()
    # Only a whole name: the beginning of one is more likely a word to answer.
    known = [KnownModel.of_row(one) for one in rows]
    loaded = resolve(word, known, whole=True)
    if loaded is not None:
        return loaded.name, prompt
    base, adapters = parted(word)
    if adapters and (loaded := resolve(base, known, whole=True)) is not None:
        return loaded.name + adapters, prompt
    is_named = is_model or prompt is not None or base == NAME or path is not None
    if not is_named and not is_model_here(word):
        return None, word
    facts = await client.load(path or word)
    name = str(facts["name"])
    # The whole word may be the name of a file.
    is_whole = not adapters or resolve(word, [KnownModel(name=name)]) is not None
    return name if is_whole else name + adapters, prompt


def _file_of(word: str) -> str | None:
    """The whole path of a GGUF file that is there; the daemon has a working folder of its own."""
    file = Path(word).absolute()
    return str(file) if file.suffix == ".gguf" and os.path.isfile(file) else None


async def _has_template(client: Service, model: str | None) -> bool | None:
    """Whether the model has a chat template; None where that cannot be known."""
    rows = [dict(row) for row in await client.models()]
    wanted = None if model is None else (model, parted(model)[0])
    serving = [
        row for row in rows if row.get("error") is None and (not wanted or row["name"] in wanted)
    ]
    row: Mapping[str, Any] = serving[0] if serving else {}
    if "has_chat_template" not in row and row.get("state") not in (None, "ready"):
        row = await client.load(str(row["name"]))  # which waits until its file is read
    found = row.get("has_chat_template")
    return None if found is None else bool(found)
