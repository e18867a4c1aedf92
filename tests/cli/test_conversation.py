"""A conversation of `umad run`: commands, messages of several lines, pastes, Ctrl-C."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.cli.conftest import Fakes, Umad
from tests.cli.test_run import LONG, Terminal, reply, running
from tests.live import wait_until
from umad.cli.chat import _turn
from umad.cli.talk import HELP, Left, Talk
from umad.cli.typed import unwrapped
from umad.cli.wakeup import woken_by_signals
from umad.errors import BadRequest
from umad.request import ChatMessage, GenerateRequest, SamplingParams
from umad.service import Accepted, Event

Open = Callable[..., Terminal]
CTRL_C = "\x03"
# Three quotes, spelt so that tools which look for docstrings are not misled.
Q = '"' * 3


class XTerm(Terminal):
    """A terminal that can do more than print, so that editing is as people have it."""

    def __init__(self, fakes: Fakes, *args: str) -> None:
        self._fd, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", CONTROLLED, "run", "--seed", "7", *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env=os.environ
            | {
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "UMAD_SOCKET": str(fakes.socket),
                "TERM": "xterm",
                "INPUTRC": "/dev/null",
            },
        )
        os.close(theirs)
        self.seen = ""


# The terminal is this session's own, so that it makes Ctrl-C a signal.
CONTROLLED = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from umad.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(params=[Terminal, XTerm], ids=["dumb", "xterm"])
def terminal(request: pytest.FixtureRequest, fakes: Fakes) -> Iterator[Open]:
    opened: list[Terminal] = []

    def start(*args: str) -> Terminal:
        opened.append(request.param(fakes, *args))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def xterm(fakes: Fakes) -> Iterator[Open]:
    opened: list[Terminal] = []

    def start(*args: str) -> Terminal:
        opened.append(XTerm(fakes, *args))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def wait_for_typing(chat: Terminal) -> None:
    """Until it waits for a person. A signal that comes between prompt and wait is seen late, by
    Python's own way to read a line.
    """
    process = psutil.Process(chat.process.pid)
    looks: list[tuple[str, float]] = []

    def rests() -> bool:
        """Asleep in several looks, with no core between them: not only for a lock or a page."""
        used = process.cpu_times()
        looks.append((process.status(), used.user + used.system))
        return looks[-5:] == 5 * [(psutil.STATUS_SLEEPING, looks[-1][1])]

    wait_until(rests, what="a wait for input")


def asked_tokens(chat: Terminal) -> int:
    """Words of the conversation as the fake model counted them, from the JSON of one answer."""
    chat.until('"event": "done"')
    rest = chat.until("}\n") if "\n" not in chat.seen else chat.seen
    found = rest[rest.index('"prompt_tokens": ') + len('"prompt_tokens": ') :]
    return int(found[: found.index(",")])


# -- one message ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "tokens"),
    [
        pytest.param("one two\n", 2, id="a line"),
        pytest.param(f"{Q}one\ntwo three\n{Q}\n", 3, id="a block over lines"),
        pytest.param(f"{Q}one two{Q}\n", 2, id="a block in one line"),
        pytest.param(f"{Q}\none\n\nthree{Q}\n", 2, id="a block that ends behind text"),
        pytest.param("\x1b[200~one\ntwo three\x1b[201~\n", 3, id="a paste of two lines"),
        pytest.param("see: \x1b[200~one\r\rtwo\x1b[201~ ok\n", 4, id="a paste within a line"),
        pytest.param("/etc/passwd is what?\n", 3, id="a path is no command"),
    ],
)
def test_it_is_asked_as_one_message(terminal: Open, typed: str, tokens: int) -> None:
    chat = terminal("--max-tokens", "2", "--json")
    chat.until("> ")

    chat.type(typed)

    assert asked_tokens(chat) == tokens
    chat.until("> ")
    chat.type("/bye\n")
    assert chat.process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        (f"{Q}a\nb{Q}", "a\nb"),
        (f"  {Q} a {Q} ", "a"),
        (f"{Q}", f"{Q}"),
        ('say "hi"', 'say "hi"'),
        (f"{Q}{Q}", ""),
    ],
)
def test_the_marks_of_a_block_are_not_part_of_it(typed: str, text: str) -> None:
    assert unwrapped(typed) == text


# -- Ctrl-C ---------------------------------------------------------------------------------------


def test_ctrl_c_ends_the_answer_and_the_next_message_is_answered(
    terminal: Open, asking: Umad
) -> None:
    chat = terminal(*LONG)
    chat.until("> ")
    chat.type("tell me everything\n")
    chat.until(reply(7, 3))

    chat.process.send_signal(signal.SIGINT)

    chat.until("(ended)")
    chat.until("> ")
    wait_until(lambda: running(asking) == [], what="the request's end")
    chat.type("/set max_tokens 3\n")
    chat.until("> ")
    chat.type("and now?\n")
    chat.until(reply(7, 3))


class StuckClient:
    """A daemon whose answers cannot be ended: what waits for the end waits for ever."""

    def __init__(self) -> None:
        self.began, self.cancelled = threading.Event(), threading.Event()

    async def events(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        yield Accepted(request="r1", model="m", lane="interactive", queue_position=0)
        try:
            self.began.set()
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
            await asyncio.Event().wait()


def test_a_second_ctrl_c_leaves_where_the_first_cannot_end_the_answer() -> None:
    client = StuckClient()

    def press_twice() -> None:
        for event in (client.began, client.cancelled):
            event.wait(30)
            os.kill(os.getpid(), signal.SIGINT)

    presses = threading.Thread(target=press_twice)
    presses.start()
    with (
        asyncio.Runner() as runner,
        woken_by_signals(runner.get_loop()),
        pytest.raises(KeyboardInterrupt),
    ):
        _turn(runner, client, talk(), "hello", as_json=False)  # type: ignore[arg-type]
    presses.join(30)


def test_ctrl_c_at_the_prompt_leaves(terminal: Open) -> None:
    chat = terminal()
    chat.until("> ")
    wait_for_typing(chat)

    chat.process.send_signal(signal.SIGINT)

    assert chat.process.wait(timeout=30) == 130


def test_ctrl_c_on_a_line_that_has_begun_drops_the_line(xterm: Open) -> None:
    chat = xterm("--max-tokens", "2")
    chat.until("> ")
    chat.type("half a tho")
    chat.until("half a tho")
    wait_for_typing(chat)

    chat.type(CTRL_C)

    chat.until("> ")
    chat.type("/bye\n")
    assert chat.process.wait(timeout=30) == 0


def test_ctrl_c_in_a_block_drops_the_block(terminal: Open) -> None:
    chat = terminal("--max-tokens", "2")
    chat.until("> ")
    chat.type(f"{Q}one\n")
    chat.until("... ")
    wait_for_typing(chat)

    chat.process.send_signal(signal.SIGINT)

    chat.until("> ")
    chat.type("/bye\n")
    assert chat.process.wait(timeout=30) == 0


# -- commands -------------------------------------------------------------------------------------


def test_commands_are_obeyed_and_what_is_wrong_ends_nothing(terminal: Open) -> None:
    chat = terminal("--max-tokens", "2")
    for typed, told in (
        ("/help\n", "/set system TEXT"),
        ("/set temperature 1000\n", "temperature must be between 0 and 100"),
        ("/set colour red\n", "/set knows no colour"),
        ("/frobnicate\n", "no command /frobnicate; /help lists them"),
        ("/set num_predict 3\n", "(max_tokens is 3)"),
        (f"/set system {Q}Be\nbrief.{Q}\n", "(the system message is set)"),
        ("/set\n", "system Be\nbrief."),
        ("/clear\n", "(a new conversation)"),
        ("hello\n", reply(7, 3)),
    ):
        chat.until("> ")
        chat.type(typed)
        chat.until(told)
    chat.until("> ")
    chat.type("/bye\n")

    assert chat.process.wait(timeout=30) == 0


def talk(**more: object) -> Talk:
    request = GenerateRequest(sampling=SamplingParams(seed=7))
    return Talk(request=request, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["/bye", "/exit", "/quit"])
def test_a_person_leaves_with_any_of_the_words_they_know(word: str) -> None:
    with pytest.raises(Left):
        talk().obey(word)


@pytest.mark.parametrize("word", ["/help", "/?"])
def test_help_says_what_there_is(word: str) -> None:
    assert talk().obey(word) == HELP


@pytest.mark.parametrize("word", ["/clear", "/new"])
def test_a_new_conversation_keeps_the_settings(word: str) -> None:
    one = talk(system="Be brief.")
    one.obey("/set temperature 0.2")
    one.keep("hello", "Hi.")

    one.obey(word)

    assert one.asking("again").messages == (
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="user", content="again"),
    )
    assert one.request.sampling.temperature == 0.2


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        pytest.param("/set temperature 0.2", "temperature", 0.2, id="a parameter"),
        pytest.param("/set parameter temperature 0.2", "temperature", 0.2, id="as Ollama has it"),
        pytest.param("/set parameter num_predict 40", "max_tokens", 40, id="Ollama's name"),
        pytest.param("/set repeat_penalty 1.1", "repetition_penalty", 1.1, id="another of them"),
        pytest.param("/set repeat_last_n 10", "penalty_last_n", 10, id="and another"),
        pytest.param("/set seed 3", "seed", 3, id="a seed"),
        pytest.param("/set seed 18446744073709551615", "seed", 2**64 - 1, id="a long seed"),
        pytest.param("/set top_k 40.0", "top_k", 40, id="a whole number with a point"),
        pytest.param("/set\ttop_k   40 ", "top_k", 40, id="any blanks"),
        pytest.param("/set temperature default", "temperature", 0.8, id="the default again"),
        pytest.param('/set stop "a b" END', "stop", ("a b", "END"), id="texts to stop at"),
        pytest.param('/set stop ""', "stop", (), id="none any more"),
    ],
)
def test_set_changes_what_is_asked(line: str, field: str, value: object) -> None:
    one = talk()

    one.obey(line)

    assert getattr(one.asking("x").sampling, field) == value


@pytest.mark.parametrize(
    ("line", "system"),
    [
        ("/set system Be brief.", "Be brief."),
        ('/set system "Be brief."', "Be brief."),
        ('/set system Say "hi"', 'Say "hi"'),
        (f"/set system {Q}Be\nbrief.{Q}", "Be\nbrief."),
        ("/set system", None),
    ],
)
def test_the_system_message_holds_from_the_next_turn_on(line: str, system: str | None) -> None:
    one = talk(system="Before.")

    one.obey(line)

    first = (one.asking("x").messages or ())[0]
    assert (first.content if first.role == "system" else None) == system


def test_the_form_of_answers_is_set_and_given_up() -> None:
    one = talk()
    one.obey("/set format json")
    constraint = one.asking("x").constraint
    one.obey("/set noformat")

    assert constraint is not None
    assert json.loads(constraint.text) == {"type": "object"}
    assert one.asking("x").constraint is None


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("/set top_k many", "top_k must be a whole number"),
        ("/set top_k 1.5", "top_k must be a whole number"),
        ("/set temperature nan", "temperature must be a finite number"),
        ("/set top_p 2", "top_p must be between 0 and 1"),
        ("/set num_ctx 4096", "umad serve --ctx-size N"),
        ("/set format no-such-file", "json or a file"),
        ('/set stop "a', "No closing quotation"),
        ("/load other", "no command /load"),
    ],
)
def test_a_wrong_word_says_what_is_right(line: str, hint: str) -> None:
    one = talk()

    with pytest.raises(BadRequest) as caught:
        one.obey(line)

    assert hint in caught.value.message
    assert one == talk()


def test_plain_text_has_no_turns_and_no_system_message() -> None:
    one = talk(raw=True)
    one.keep("def f(", "x): pass")

    assert one.asking("def g(").prompt == "def g("
    assert one.asking("def g(").messages is None
    with pytest.raises(BadRequest, match="--raw"):
        one.obey("/set system Be brief.")
