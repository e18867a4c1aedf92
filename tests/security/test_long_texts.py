"""Texts that take seconds to tokenize: nobody waits for another's, and what cannot fit is refused
before."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from tests.engine.harness import RunningEngine, engine, submit
from umad import nano
from umad.conversation import ChatMessage
from umad.engine.llamacpp import llama
from umad.engine.vocab import SHORT_CHARS, Vocabulary
from umad.errors import PromptTooLong
from umad.protocol.link import CancelOrder, Drop, EngineCall, EngineReply

llama.start()
MODEL = llama.Model(str(nano.path()), vocab_only=True)
VOCAB = Vocabulary(MODEL, short_chars=0)
# As long as might fit 8,192 tokens; one letter is the slowest there is: a second of a core.
SLOW = "a" * 350_000
# Whoever has it tokenized in the mailbox's thread takes half a minute.
HOPELESS = "a" * 8_000_000


@pytest.fixture(scope="module")
def served() -> Iterator[RunningEngine]:
    with engine(nano.path(), ctx_size=8192, ctx_per_stream=8192) as running:
        running.ready()
        yield running


@pytest.fixture(scope="module")
def alone_s() -> float:
    """Seconds of a core that it takes to tokenize a slow text."""
    began_s = time.process_time()
    VOCAB.tokenize(SLOW, special=True, with_ends=True)
    return time.process_time() - began_s


def cpu_s(running: RunningEngine) -> float:
    """Seconds of cores that an engine has had: what it did, however long it waited for a core."""
    times = psutil.Process(running.process.pid).cpu_times()
    return times.user + times.system


_rids = iter(range(1, 1000))
_calls = iter(range(10_001, 20_000))


def chat(text: str) -> tuple[ChatMessage, ...]:
    return (ChatMessage(role="user", content=text),)


@pytest.mark.parametrize("kind", ["prompt", "chat"])
def test_a_short_request_does_not_wait_for_another_apps_long_text(
    served: RunningEngine, kind: str
) -> None:
    long, short = next(_rids), next(_rids)
    slow = {"prompt": SLOW} if kind == "prompt" else {"messages": chat(SLOW)}
    served.send(replace(submit(long, **slow), app="greedy"))

    assert served.generate(short, prompt="x = ").ending.reason == "length"
    assert not served.of(long).over
    (refused,) = served.finish(long)
    assert refused.refusal.code == "prompt_too_long"


def test_another_apps_chat_does_not_wait_for_many_long_texts_of_one(served: RunningEngine) -> None:
    many, other = [next(_rids) for _ in range(6)], next(_rids)
    served.send(*[replace(submit(rid, prompt=SLOW), app="greedy") for rid in many])
    served.send(replace(submit(other, messages=chat("hello")), app="modest"))

    served.finish(other)

    assert sum(served.of(rid).over for rid in many) <= 1
    served.send(*[CancelOrder(rid=rid) for rid in many])
    served.finish(*many)


def test_a_short_request_does_not_wait_for_a_question_about_a_long_text(
    served: RunningEngine,
) -> None:
    rid, call = next(_rids), next(_calls)
    served.send(EngineCall(call=call, op="tokenize", args={"text": SLOW, "app": "greedy"}))

    assert served.generate(rid, prompt="x = ").ending.reason == "length"

    while not isinstance(reply := served.hear(), EngineReply):
        pass
    assert reply.call == call
    assert len(reply.value) == len(VOCAB.tokenize(SLOW, special=True, with_ends=False))


def test_a_long_text_that_nobody_waits_for_any_more_is_not_tokenized(
    served: RunningEngine, alone_s: float
) -> None:
    calls = [next(_calls) for _ in range(20)]
    last = next(_calls)
    began_s = cpu_s(served)

    def ask(call: int) -> EngineCall:
        return EngineCall(call=call, op="tokenize", args={"text": f"{call} {SLOW[8:]}", "app": "a"})

    served.send(*[ask(one) for one in calls])
    served.send(*[Drop(call=one) for one in calls])
    served.send(ask(last))

    while not isinstance(reply := served.hear(), EngineReply):
        pass

    assert reply.call == last
    assert cpu_s(served) - began_s < 10 * alone_s  # it would be twenty times for all of them


def test_a_long_text_that_is_cancelled_while_it_waits_is_let_go_at_once(
    served: RunningEngine,
) -> None:
    first, second = next(_rids), next(_rids)
    served.send(submit(first, prompt=SLOW), submit(second, prompt=SLOW), CancelOrder(rid=second))

    (left,) = served.finish(second)

    assert left.ending.reason == "cancelled"
    assert not served.of(first).over
    served.send(CancelOrder(rid=first))
    served.finish(first)


@pytest.mark.parametrize("kind", ["prompt", "chat", "tokenize", "embed"])
def test_what_cannot_fit_is_refused_before_it_is_tokenized(
    served: RunningEngine, kind: str, alone_s: float
) -> None:
    began_s = cpu_s(served)
    if kind == "tokenize":
        call = served.call("tokenize", text=HOPELESS)
        assert call.error is not None
        code, message, field = call.error
    elif kind == "embed":
        args = {"dimensions": None, "normalize": True, "truncate": False, "lane": "interactive"}
        call = served.call("embed", inputs=(HOPELESS,), app="a", **args)
        assert call.error is not None
        code, message, field = call.error
    else:
        fields = {"prompt": HOPELESS} if kind == "prompt" else {"messages": chat(HOPELESS)}
        refusal = served.generate(next(_rids), **fields).refusal
        code, message, field = refusal.code, refusal.message, refusal.field

    assert code == "prompt_too_long"
    assert "characters" in message
    assert field == {"tokenize": "text", "embed": "input"}.get(kind, "prompt")
    assert cpu_s(served) - began_s < 5 * alone_s  # it is more than twenty times as long


pieces = st.sampled_from(
    [" " * 40, "\n", "a", "the ", "é", "\U0001f600", "<|im_end|>", "0", "x" * 50, "def f(x):\n    "]
)


@settings(max_examples=200, deadline=None)
@given(text=st.lists(pieces, max_size=60).map("".join), most=st.integers(1, 40))
def test_only_what_has_more_tokens_for_certain_is_refused_unseen(text: str, most: int) -> None:
    try:
        VOCAB.check_size(text, most, field="prompt")
    except PromptTooLong:
        for special in (True, False):
            tokens = VOCAB.tokenize(text, special=special, with_ends=False)
            assert tokens.size > most
            assert len(text.encode()) > most


def test_a_text_of_the_longest_tokens_that_just_fits_is_taken() -> None:
    longest = max(range(VOCAB.n_vocab), key=lambda token: len(VOCAB.marked_piece(token)))
    text = VOCAB.marked_piece(longest).decode()
    n_tokens = VOCAB.tokenize(text * 10, special=True, with_ends=False).size

    VOCAB.check_size(text * 10, n_tokens, field="prompt")
    with pytest.raises(PromptTooLong):
        VOCAB.check_size(text * 100, n_tokens, field="prompt")


def test_no_text_of_a_usual_length_waits_for_a_look_at_every_token() -> None:
    class Watched(llama.Model):
        looked_at: ClassVar[set[int]] = set()

        @override
        def piece(self, token: int, *, special: bool) -> bytes:
            self.looked_at.add(token)
            return super().piece(token, special=special)

    vocab = Vocabulary(Watched(str(nano.path()), vocab_only=True))
    before = len(Watched.looked_at)

    vocab.check_size("a" * SHORT_CHARS, 4096, field="prompt")
    assert len(Watched.looked_at) == before
    vocab.check_size("a" * (SHORT_CHARS + 1), 4096, field="prompt")
    assert len(Watched.looked_at) == vocab.n_vocab


def test_a_long_text_has_the_tokens_of_the_same_text_in_short() -> None:
    text = "one two three\n" * 2000

    tokens = VOCAB.tokenize(text, special=False, with_ends=False)

    line = VOCAB.tokenize("one two three\n", special=False, with_ends=False)
    assert tokens.tolist() == line.tolist() * 2000


def test_many_ids_are_not_taken_apart_in_one_question(served: RunningEngine) -> None:
    reply = served.call("detokenize", ids=(5,) * 200_000, pieces=True)

    assert reply.error is not None
    assert reply.error[0] == "prompt_too_long"


def test_the_completions_of_one_request_have_their_prompt_tokenized_once(
    served: RunningEngine, alone_s: float
) -> None:
    rids = [next(_rids) for _ in range(16)]
    text = "b" + SLOW[1:]
    began_s = cpu_s(served)
    served.send(*[submit(rid, prompt=text) for rid in rids])
    refused = served.finish(*rids)

    assert {one.refusal.code for one in refused} == {"prompt_too_long"}
    assert cpu_s(served) - began_s < 8 * alone_s
