"""Runs `umad run [MODEL] [PROMPT]`: one answer to a prompt or to piped stdin, else a conversation.

It is only a client: it starts no daemon, and Ctrl-C ends the request alone. Not: the conversation
itself (`umad.cli.chat`).
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from umad.cli.chat import converse
from umad.cli.connect import connect, json_option, socket_option
from umad.cli.stream import stream
from umad.errors import BadRequest
from umad.nano import NAME
from umad.request import ChatMessage, GenerateRequest, SamplingParams
from umad.service import Service

# More than any model's context in text; what is longer is a mistake such as `umad run < disk.img`.
MAX_STDIN_BYTES = 8 * 2**20

_SAMPLING: tuple[tuple[str, type, str], ...] = (
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


def _sampling_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, kind, text in reversed(_SAMPLING):
        command = click.option("--" + name.replace("_", "-"), name, type=kind, help=text)(command)
    return command


@click.command()
@click.argument("words", nargs=-1, metavar="[MODEL] [PROMPT]")
@_sampling_options
@click.option("--stop", multiple=True, metavar="TEXT", help="End at this text; may be repeated.")
@click.option("--ignore-eos", is_flag=True, help="Go on past the model's own end.")
@click.option("--chat", "as_chat", is_flag=True, help="Send PROMPT as a chat message.")
@click.option("--system", metavar="TEXT", help="System message; implies --chat.")
@click.option("--lane", metavar="LANE", help="interactive, background, or a configured lane.")
@click.option("--session", metavar="NAME", help="Keep the context under this name.")
@click.option("--deadline-ms", type=int, metavar="N", help="Give up after so long.")
@socket_option
@json_option
def run(
    words: tuple[str, ...],
    stop: tuple[str, ...],
    ignore_eos: bool,
    as_chat: bool,
    system: str | None,
    lane: str | None,
    session: str | None,
    deadline_ms: int | None,
    socket: str | None,
    as_json: bool,
    **sampled: Any,
) -> None:
    """Complete PROMPT, or text piped in; with neither, hold a conversation.

    A single word is the MODEL when it is `nano`, the path of a GGUF file, or the name of a loaded
    model; anything else is the PROMPT.
    """
    if len(words) > 2:
        raise click.UsageError("put the prompt in quotes: umad run [MODEL] [PROMPT].")
    sampling = SamplingParams(
        stop=stop,
        ignore_eos=ignore_eos,
        **{name: value for name, value in sampled.items() if value is not None},
    )
    sampling.check()

    # A runner, not one `asyncio.run`: stdin is read between two runs, where Ctrl-C still works.
    with asyncio.Runner() as runner, connect(runner, socket) as client:
        model, prompt = None, None
        if words:
            prompt = words[1] if words[1:] else None
            # The daemon has a working folder of its own.
            file = Path(words[0]).absolute()
            path = str(file) if file.suffix == ".gguf" and file.is_file() else None
            model, prompt = runner.run(_sort_out(client, words[0], prompt, path))
        if prompt is None and not sys.stdin.isatty():
            prompt = _read_stdin()

        def request(messages: tuple[ChatMessage, ...] | None) -> GenerateRequest:
            return GenerateRequest(
                prompt=prompt if messages is None else None,
                messages=messages,
                model=model,
                sampling=sampling,
                lane=lane,
                session=session,
                deadline_ms=deadline_ms,
            )

        first = () if system is None else (ChatMessage(role="system", content=system),)
        if prompt is None:
            converse(runner, client, request, first, as_json=as_json)
            return
        chat = as_chat or system is not None
        user = ChatMessage(role="user", content=prompt)
        asked = request((*first, user) if chat else None)
        runner.run(stream(client, asked, as_json=as_json))


async def _sort_out(
    client: Service, word: str, prompt: str | None, path: str | None
) -> tuple[str | None, str | None]:
    """(model, prompt) of the words; a model that is named and not loaded is loaded.

    path: the whole path where `word` is a GGUF file that is there.
    """
    loaded = {str(one["name"]) for one in await client.models()}
    if word in loaded:
        return word, prompt
    if prompt is None and word != NAME and path is None:
        return None, word
    facts = await client.load(path or word)
    return str(facts["name"]), prompt


def _read_stdin() -> str:
    raw = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(raw) > MAX_STDIN_BYTES:
        raise BadRequest(f"stdin holds more than {MAX_STDIN_BYTES} bytes; send a shorter prompt")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BadRequest("stdin is not UTF-8 text; convert it first") from error
    if not text:
        raise BadRequest("stdin is empty; pipe a prompt in or give one: umad run PROMPT")
    return text
