"""The second turn of a model that thinks: its history is in the pool before it is asked."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import memory_kinds
from tests.live import LiveDaemon, Stream, collect, live_daemon, wait_until
from umad import nano
from umad.chat.events import Content, Reasoning
from umad.chat.formats import format_of
from umad.chat.reader import ReplyReader
from umad.client import Client
from umad.constraint import Constraint
from umad.conversation import ChatMessage, ChatOptions
from umad.request import GenerateRequest, SamplingParams, Usage
from umad.service import Done, TokenLogprob, Tokens

# Its tokens are letters, and the ends of turns.
LETTERS = (
    "{% for m in messages %}<s>{{m.role}}\n{{m.content}}</s>{% endfor %}<s>assistant\n<think>\n"
    "{# </think> #}"
)
HYBRID = "delta net"
BEGINNING, END = b"{% for message in messages %}", b"assistant\\n' }}{% endif %}"
# The answer begins with a thought, and the history shows none.
THINKS = (
    "{% for m in messages %}<|im_start|>{{m.role}}\n{{m.content}}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n<think>\n{# </think>ROOM #}"
)
QUESTION = ChatMessage(role="user", content="On which shelf is the tea? " * 4)
# The next turn needs its own words, and what the template writes around them.
OWN_TOKENS = 24


def write_thinker(path: Path) -> Path:
    """nano with another template of the same length, so that its file stays a GGUF."""
    data = nano.path().read_bytes()
    begin = data.index(BEGINNING)
    end = data.index(END, begin) + len(END)
    room = end - begin - len(THINKS.replace("ROOM", ""))
    path.write_bytes(data[:begin] + THINKS.replace("ROOM", room * " ").encode() + data[end:])
    return path


def write_hybrid(path: Path) -> Path:
    """A model with states, which means nothing."""
    return memory_kinds.write(path, HYBRID, template=LETTERS)


@contextmanager
def thinking_daemon(
    *arguments: str, write: Callable[[Path], Path] = write_thinker
) -> Iterator[LiveDaemon]:
    """A daemon on a model that thinks."""
    folder = Path(tempfile.mkdtemp(prefix="umad-", dir="/tmp"))
    path = write(folder / "thinker.gguf")
    try:
        with live_daemon(folder, str(path), "--ctx-size", "4096", *arguments) as one:
            yield one
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def daemon() -> Iterator[LiveDaemon]:
    with thinking_daemon() as one:
        yield one


def ask(
    daemon: LiveDaemon, *messages: ChatMessage, session: str | None = None, digits: int = 40
) -> Stream:
    request = GenerateRequest(
        messages=messages,
        chat=ChatOptions(markup=True, thinking_tokens=24),
        constraint=Constraint(kind="regex", text=f"The tea is on shelf [0-9]{{{digits}}}[.]"),
        sampling=SamplingParams(max_tokens=300, temperature=0.0),
        session=session,
    )

    async def asked() -> Stream:
        async with daemon.client() as client:
            return await collect(client, request)

    return asyncio.run(asked())


def parts(text: str) -> tuple[str, str]:
    """Thought and answer."""
    reader = ReplyReader(format_of(THINKS), calls=False)
    events = [*reader.push(text), *reader.finish()]
    thought = "".join(one.text for one in events if isinstance(one, Reasoning))
    return thought, "".join(one.text for one in events if isinstance(one, Content))


def second_turn(first: Stream) -> tuple[ChatMessage, ...]:
    thought, answer = parts(first.text)
    assert thought
    assert answer.startswith("The tea is on shelf")
    return (
        QUESTION,
        ChatMessage(role="assistant", content=answer),
        ChatMessage(role="user", content="Thanks!"),
    )


def cells_kept(daemon: LiveDaemon) -> int:
    return int(daemon.metrics()["kv_cells_retained"])


def cells_of(stream: Stream) -> int:
    assert stream.done is not None
    usage = stream.done.usage
    return usage.prompt_tokens + usage.completion_tokens - 1


def test_a_second_turn_computes_its_own_words_alone(daemon: LiveDaemon) -> None:
    first = ask(daemon, QUESTION)
    assert first.done is not None
    assert first.done.finish_reason == "stop"
    wait_until(lambda: cells_kept(daemon) > cells_of(first), what="what is computed ahead")

    second = ask(daemon, *second_turn(first))

    assert second.done is not None
    usage = second.done.usage
    assert usage.prompt_tokens - usage.cached_tokens <= OWN_TOKENS
    # Without that, all tokens behind the first question would have been computed.
    assert usage.cached_tokens > first.done.usage.prompt_tokens + 20


def test_nobody_is_told_of_it_and_nobody_is_charged(daemon: LiveDaemon) -> None:
    with Client(daemon.socket) as client:
        client.forget(all=True)
    first = ask(daemon, QUESTION, digits=60)
    wait_until(lambda: cells_kept(daemon) > cells_of(first), what="what is computed ahead")

    metrics = daemon.metrics()

    with Client(daemon.socket) as client:
        assert client.sessions() == []
    assert metrics["kv_cells_used"] == 0
    assert sum(metrics["queue_depth"].values()) == 0


def test_it_is_forgotten_with_its_session(daemon: LiveDaemon) -> None:
    with Client(daemon.socket) as client:
        client.forget(all=True)
    first = ask(daemon, QUESTION, session="shop", digits=50)
    seen = (0, cells_of(first))  # before its end, and at its end
    wait_until(lambda: cells_kept(daemon) not in seen, what="what is computed ahead")

    with Client(daemon.socket) as client:
        client.forget("shop")

    wait_until(lambda: cells_kept(daemon) == 0, what="an empty pool")
    second = ask(daemon, *second_turn(first), session="shop", digits=50)
    assert second.done is not None
    assert second.done.usage.cached_tokens == 0


def test_it_is_not_computed_where_it_is_turned_off() -> None:
    with thinking_daemon("--no-read-ahead") as daemon:
        first = ask(daemon, QUESTION)
        second = ask(daemon, *second_turn(first))

    assert first.done is not None
    assert second.done is not None
    assert second.done.usage.cached_tokens <= first.done.usage.prompt_tokens


def first_words(daemon: LiveDaemon, *messages: ChatMessage) -> tuple[Usage, list[TokenLogprob]]:
    """How probable the first tokens of an answer are, and how much of its prompt was computed."""
    request = GenerateRequest(
        messages=messages,
        chat=ChatOptions(markup=True),
        sampling=SamplingParams(max_tokens=3, temperature=0.0, logprobs=3),
    )

    async def asked() -> tuple[Usage, list[TokenLogprob]]:
        found: list[TokenLogprob] = []
        async with daemon.client() as client:
            async for event in client.events(request):
                if isinstance(event, Tokens):
                    found += event.logprobs or ()
                elif isinstance(event, Done):
                    return event.usage, found
        raise AssertionError("the answer did not end")

    return asyncio.run(asked())


def test_a_hybrid_goes_on_from_the_end_of_what_was_computed_ahead() -> None:
    """Its state is that of all the tokens before, so a prefix in the middle would be of no use."""
    with thinking_daemon(write=write_hybrid) as daemon:
        first = ask(daemon, QUESTION)
        wait_until(lambda: cells_kept(daemon) > cells_of(first), what="what is computed ahead")
        usage, words = first_words(daemon, *second_turn(first))
    with thinking_daemon("--no-read-ahead", write=write_hybrid) as daemon:
        cold, cold_words = first_words(daemon, *second_turn(first))

    assert first.done is not None
    assert usage.cached_tokens > first.done.usage.prompt_tokens + 40
    assert usage.prompt_tokens - usage.cached_tokens <= len("user\nThanks!assistant\n<think>\n") + 4
    assert cold.cached_tokens == 0
    # The same answer, as far as it does not hang on how the prompt was sliced (0.005 nats).
    assert [word.id for word in words] == [word.id for word in cold_words]
    assert [word.logprob for word in words] == pytest.approx(
        [word.logprob for word in cold_words], abs=0.02
    )
