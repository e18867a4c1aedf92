"""`umad run` as its users meet it: text, pipes, interrupts, conversations."""

import contextlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Ended, Fakes, Umad
from tests.live import wait_until
from umad.testing import fake_text, fake_token

Spawn = Callable[..., subprocess.Popen[str]]
# A reply that nobody waits for to its end: half an hour of the fake model's.
LONG = ("--max-tokens", "1000000")


def reply(seed: int, n_tokens: int) -> str:
    return "".join(fake_text(fake_token(seed, at)) for at in range(n_tokens))


def run(umad: Umad, *args: str) -> Ended:
    return umad("run", *args, "--seed", "7", "--max-tokens", "3")


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


# -- one shot -----------------------------------------------------------------------------------


def test_a_prompt_is_completed_on_stdout(asking: Umad) -> None:
    ended = run(asking, "hello there")

    assert (ended.code, ended.err) == (0, "")
    assert ended.out == reply(7, 3) + "\n"


def test_piped_text_is_the_prompt(asking: Umad, monkeypatch: pytest.MonkeyPatch) -> None:
    give_stdin(monkeypatch, b"one two three four")

    ended = run(asking, "--json")

    done = json.loads(ended.out.splitlines()[-1])
    assert done["usage"]["prompt_tokens"] == 4


def test_json_is_one_event_a_line(asking: Umad) -> None:
    ended = run(asking, "hello", "--json")

    events = [json.loads(line) for line in ended.out.splitlines()]
    assert events[0]["event"] == "accepted"
    assert events[-1]["event"] == "done"
    assert events[-1]["finish_reason"] == "length"
    assert "".join(e["text"] for e in events if e["event"] == "tokens") == reply(7, 3)


def test_a_single_word_is_the_model_when_one_is_loaded_under_that_name(
    asking: Umad, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_stdin(monkeypatch, b"from the pipe")

    ended = run(asking, "m", "--json")

    accepted, *_, done = [json.loads(line) for line in ended.out.splitlines()]
    assert accepted["model"] == "m"
    assert done["usage"]["prompt_tokens"] == 3


def test_a_single_word_that_is_no_model_is_the_prompt(asking: Umad) -> None:
    assert run(asking, "mm").out == reply(7, 3) + "\n"


def test_a_file_is_loaded_and_used(
    asking: Umad, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fakes.other.parent)

    ended = run(asking, "other.gguf", "hello", "--json")

    assert json.loads(ended.out.splitlines()[0])["model"] == "other"
    assert asking("unload", "other").code == 0


def test_the_lane_and_the_session_are_passed_on(asking: Umad) -> None:
    ended = run(asking, "hello", "--lane", "background", "--json")

    assert json.loads(ended.out.splitlines()[0])["lane"] == "background"


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["hello", "--temperature", "1000"], "temperature must be between"),
        (["hello", "--lane", "fast"], "fast"),
        (["hello", "--deadline-ms", "0"], "deadline_ms"),
        (["reject"], "told to"),
    ],
)
def test_a_bad_request_is_2(asking: Umad, args: list[str], hint: str) -> None:
    ended = asking("run", *args)

    assert ended.code == 2
    assert hint in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(("data", "hint"), [(b"", "stdin is empty"), (b"\xff\xfe", "not UTF-8")])
def test_a_pipe_without_text_is_2(
    asking: Umad, monkeypatch: pytest.MonkeyPatch, data: bytes, hint: str
) -> None:
    give_stdin(monkeypatch, data)

    ended = asking("run")

    assert ended.code == 2
    assert hint in ended.err


def test_a_model_nobody_knows_is_1(asking: Umad) -> None:
    ended = asking("run", "llama", "hello")

    assert ended.code == 1
    assert "llama" in ended.err


# -- interrupts ---------------------------------------------------------------------------------


def test_ctrl_c_ends_the_request_and_not_the_daemon(asking: Umad, spawn: Spawn) -> None:
    process = spawn("run", "hello", "--json", *LONG)
    first_tokens(process)

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert err == ""
    wait_until(lambda: running(asking) == [], what="the request's end")


def test_a_reader_that_leaves_ends_the_request_quietly(asking: Umad, spawn: Spawn) -> None:
    process = spawn("run", "hello", "--json", *LONG)
    first_tokens(process)
    assert process.stdout is not None

    process.stdout.close()

    assert process.wait(timeout=30) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stdout = None
    wait_until(lambda: running(asking) == [], what="the request's end")


def test_a_request_that_another_client_cancels_is_1(asking: Umad, spawn: Spawn) -> None:
    process = spawn("run", "hello", "--json", *LONG)
    request = first_tokens(process)

    cancelled = asking("cancel", request)
    _, err = process.communicate(timeout=30)

    assert cancelled.code == 0
    assert process.returncode == 1
    assert "cancelled" in err


def first_tokens(process: subprocess.Popen[str]) -> str:
    """Wait until tokens come; the request's id."""
    assert process.stdout is not None
    request = ""
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "accepted":
            request = event["request"]
        if event["event"] == "tokens":
            return request
    raise AssertionError(f"no tokens came: {process.communicate()[1]}")


def running(umad: Umad) -> list[str]:
    sessions = json.loads(umad("ps", "--json").out)["sessions"]
    return [row["request"] for row in sessions]


# -- conversations ------------------------------------------------------------------------------


class Terminal:
    """`umad run` on a pseudo-terminal, as a person sees it."""

    def __init__(self, fakes: Fakes, *args: str) -> None:
        self._fd, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "umad", "run", "--seed", "7", *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env=os.environ
            | {
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "UMAD_SOCKET": str(fakes.socket),
                "TERM": "dumb",
            },
        )
        os.close(theirs)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def until(self, text: str) -> str:
        """What appeared up to and with `text`. pytest's own timeout bounds it."""
        while text not in self.seen:
            data = b""
            with contextlib.suppress(OSError):  # Linux: the other end is closed
                data = os.read(self._fd, 4096)
            assert data, f"it ended without {text!r}: {self.seen!r}"
            self.seen += data.decode().replace("\r", "")
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)


@pytest.fixture
def terminal(fakes: Fakes) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*args: str) -> Terminal:
        opened.append(Terminal(fakes, *args))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_a_conversation_goes_on_until_ctrl_d(terminal: Callable[..., Terminal]) -> None:
    chat = terminal("--max-tokens", "3")
    chat.until("> ")

    chat.type("hello\n")
    chat.until(reply(7, 3))
    chat.until("> ")
    chat.type("reject\n")  # one turn is refused, the conversation is not over
    chat.until("told to")
    chat.until("> ")
    chat.type("/new\n")
    chat.until("> ")
    chat.type("\x04")

    assert chat.process.wait(timeout=30) == 0


def test_ctrl_c_ends_a_reply_and_not_the_conversation(
    asking: Umad, terminal: Callable[..., Terminal]
) -> None:
    chat = terminal(*LONG)
    chat.until("> ")

    chat.type("tell me everything\n")
    chat.until(reply(7, 3))
    chat.process.send_signal(signal.SIGINT)
    chat.until("(ended)")
    chat.until("> ")

    wait_until(lambda: running(asking) == [], what="the request's end")
    chat.type("\x04")
    assert chat.process.wait(timeout=30) == 0
