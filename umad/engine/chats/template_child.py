"""Runs a model's chat template in a process: `python -m umad.engine.chats.template_child RUN_S`.

A template comes out of a file somebody downloaded and is a program: it may loop for ever, or square
a number until one multiplication takes hours, in a call that no thread can interrupt. Here the
kernel ends it, by a timer of RUN_S seconds of processor time and a limit of memory.

The first frame on stdin is the template. Every other frame holds values to render, and its answer
goes to stdout. Frames are a 4-byte big-endian length and JSON. The process ends when stdin ends.
Not: what follows from its end (`umad.engine.chats.template_process`).
"""

import contextlib
import json
import resource
import signal
import struct
import sys
from collections.abc import Sequence
from typing import IO, Any

from umad.engine.chats.template_program import MessagesRefused, TemplateFailed, TemplateProgram

# Python with jinja2 takes 20 MB. Rendering the largest text takes some hundred more.
MEMORY_BYTES = 2**30
HEADER = struct.Struct(">I")


def main(arguments: Sequence[str]) -> int:
    """Serve stdin until it ends."""
    run_s = float(arguments[0])
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # Ctrl-C in the daemon's terminal is for the daemon to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    program: TemplateProgram | str | None = None
    while (frame := read_frame(asked)) is not None:
        # The signal's default action ends the process, whatever runs in it.
        signal.setitimer(signal.ITIMER_PROF, run_s)
        if program is None:
            program = _program(frame)
            signal.setitimer(signal.ITIMER_PROF, 0)
            continue
        answer = _answer(program, frame)
        signal.setitimer(signal.ITIMER_PROF, 0)
        write_frame(answers, answer)
    return 0


def _program(source: str) -> TemplateProgram | str:
    try:
        return TemplateProgram(source)
    except TemplateFailed as error:
        return str(error)
    except MemoryError:
        return "this model has a chat template that takes too much memory"


def _answer(program: TemplateProgram | str, values: dict[str, Any]) -> dict[str, str]:
    if isinstance(program, str):
        return {"failed": program}
    try:
        return {"text": program.render(values)}
    except MessagesRefused as error:
        return {"refused": str(error)}
    except TemplateFailed as error:
        return {"failed": str(error)}


def read_frame(stream: IO[bytes]) -> Any:
    """Read the next value; None at the end."""
    head = stream.read(HEADER.size)
    if len(head) < HEADER.size:
        return None
    return json.loads(stream.read(HEADER.unpack(head)[0]))


def write_frame(stream: IO[bytes], value: Any) -> None:
    """Send one value."""
    body = json.dumps(value).encode()
    stream.write(HEADER.pack(len(body)) + body)
    stream.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
