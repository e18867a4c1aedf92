"""Runs a model's chat template in a process of its own, so that it can be ended at any moment.

A template that takes too long costs its process and one request; the next request starts another
process. After `GIVE_UP` such requests in a row the template is not run any more, because each makes
the requests behind it wait. Threads: any; those of `long_intake` wait here for each other, because
one process answers one question at a time.
"""

import contextlib
import fcntl
import select
import signal
import subprocess
import threading
from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from umad.engine.chats.template_child import read_frame, write_frame
from umad.engine.chats.template_program import MessagesRefused, Renderer, TemplateFailed
from umad.isolated import python_module

# Processor time. Conversations of a megabyte render within 50 ms.
RUN_S = 2.0
# The child counts its own processor time. On a machine that gives it none, this bound holds.
WAIT_S = 30.0
# A child whose pipe has ended is about to end itself, and how it ended tells what to say.
EXIT_S = 10.0
GIVE_UP = 3
# A long conversation fits into the pipe at once. With a smaller pipe both ends would take turns
# for every 64 KiB of it.
PIPE_BYTES = 2**20
_ENDLESS = "this model has a chat template that does not end; send a prompt instead of messages"


class TemplateProcess(Renderer):
    """Runs one template. source: the template. The process starts at once, since Python takes a
    moment. aside: it starts on idle cores alone, because another engine has interactive work.
    """

    def __init__(self, source: str, *, run_s: float = RUN_S, aside: bool = False) -> None:
        self._source = source
        self._run_s = run_s
        self._aside = aside
        self._n_overrun = 0
        self._one_at_a_time = threading.Lock()
        self._process = self._started()

    @override
    def render(self, values: Mapping[str, Any]) -> str:
        with self._one_at_a_time:
            return self._rendered(values)

    def _rendered(self, values: Mapping[str, Any]) -> str:
        if self._n_overrun >= GIVE_UP:
            raise TemplateFailed(_ENDLESS)
        try:
            answer = self._asked(dict(values))
        except TypeError as error:
            raise TemplateFailed(f"these messages cannot be written as JSON: {error}") from error
        if answer is None:
            raise self._ended()
        self._n_overrun = 0
        if "refused" in answer:
            raise MessagesRefused(answer["refused"])
        if "failed" in answer:
            raise TemplateFailed(answer["failed"])
        return str(answer["text"])

    def close(self) -> None:
        """End the process."""
        process = self._process
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _started(self) -> "subprocess.Popen[bytes]":
        program = ["umad.engine.chats.template_child", str(self._run_s)]
        if self._aside:
            program.insert(0, "umad.engine.aside")
            self._aside = False  # a later one starts for somebody who waits
        command = python_module(*program)
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(AttributeError, OSError):  # Linux only, and up to its limit
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        with contextlib.suppress(BrokenPipeError):  # noticed when it is asked
            write_frame(process.stdin, self._source)
        return process

    def _asked(self, values: dict[str, Any]) -> dict[str, str] | None:
        """The child's answer; None where the child has ended instead."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            write_frame(process.stdin, values)
        except BrokenPipeError:
            return None
        ready, _, _ = select.select([process.stdout], [], [], WAIT_S)
        if not ready:
            process.send_signal(signal.SIGPROF)  # what its own timer would have sent
            return None
        answer: dict[str, str] | None = read_frame(process.stdout)
        return answer

    def _ended(self) -> TemplateFailed:
        """Make sure that the child has ended, and start another. Returns the error to raise."""
        before = self._process
        with contextlib.suppress(subprocess.TimeoutExpired):
            before.wait(EXIT_S)
        status = before.poll()
        self.close()
        self._n_overrun += 1
        if self._n_overrun < GIVE_UP:
            self._process = self._started()
        if status in (None, -signal.SIGPROF):
            return TemplateFailed(
                f"the model's chat template did not end within {self._run_s:g} s on these messages"
            )
        return TemplateFailed(f"the model's chat template could not be run (status {status})")
