"""What is done with each model of the zoo on a running daemon, and what must come of it.

Not tests. A `Scenarios` asks one loaded model and holds its answers against bare llama.cpp's.
Everything is greedy, so an answer is right when its tokens are the same ones. Where bare llama.cpp
decodes something else itself when a prompt is cut or read anew, nothing can be held against it, and
the check says "differs". Where a stream chose a token that the library thinks as likely as the
best one, within what its slicings move, the check says "ties".
"""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from bench.cold import Question, judge
from tests.live import Stream, collect
from tests.zoo.bare import N_TOKENS, Bare, Conversation, prompts
from tests.zoo.report import Row, Verdict
from umad.client import AsyncClient
from umad.client.rows import MetricsRow, ModelRow
from umad.conversation import ChatMessage
from umad.request import BACKGROUND, INTERACTIVE, GenerateRequest, SamplingParams

WAIT_S = 120.0
_FEW = 3
# The stream may be so quick that it ends before those who need its cells come.
_ATTEMPTS = 3
# An answer that is read anew may be read from anywhere on: twice as far, each time.
_ANEW = tuple(2**power for power in range(1, 10))
# Cells are copied to host memory so many at a time.
_SLAB_TOKENS = 256
_POLL_S = 0.02
# What a pool rounds up to, and what else may lie in it.
_SPARE_CELLS = 32

Tokens = tuple[int, ...]
Messages = tuple[ChatMessage, ...]
# Of a chat: its first question, what follows it, and the longest answer.
_LONG_CHARS, _SHORT_CHARS, _LONG_ANSWER = 300, 12, 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A loaded model: its name, its vocabulary, the cells of its pool, and the longest stream."""

    name: str
    n_vocab: int
    n_cells: int
    n_positions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """Two turns as messages, and the prompts that the model's template makes of them."""

    first: Messages
    edited: Messages
    asked: Conversation

    @classmethod
    async def of(cls, client: AsyncClient, served: Served) -> "Chat":
        """One that fits into the model's positions; a letter is no more than a token."""
        drawn = np.random.default_rng(11)
        letters = list("etaoin shrdlu")

        def text(size: int) -> str:
            return "".join(drawn.choice(letters, size)).strip() or "e"

        third = served.n_positions // 3
        question = ChatMessage(role="user", content=text(min(_LONG_CHARS, third)))
        answer = ChatMessage(role="assistant", content=text(_SHORT_CHARS))
        next_question = ChatMessage(role="user", content=text(_SHORT_CHARS))
        first, edited = (question,), (question, answer, next_question)
        asked = Conversation(
            long=(await client.render(first, model=served.name)).ids,
            n_long=min(_LONG_ANSWER, third),
            question=tuple(drawn.integers(3, min(served.n_vocab, 128), _SHORT_CHARS).tolist()),
            edited=(await client.render(edited, model=served.name)).ids,
        )
        return cls(first=first, edited=edited, asked=asked)


class Scenarios:
    """One model's. bare: what llama.cpp by itself makes of it. row: takes the verdicts."""

    def __init__(
        self,
        client: AsyncClient,
        served: Served,
        path: Path,
        chat: Chat,
        bare: Bare,
        row: Row,
    ) -> None:
        self._client = client
        self._served = served
        self._path = path
        self._chat = chat
        self._asked = chat.asked
        self._bare = bare
        self._row = row
        self._drawn = np.random.default_rng(5)

    async def run(self) -> None:
        """All of them, one after the other; whatever ends one is a reason in the row."""
        scenarios = (
            ("umad", self._alone),
            ("beside", self._beside),
            ("turn", self._turn),
            ("edited", self._edited),
            ("cancelled", self._cancelled),
            ("parked", self._parked),
            ("preempted", self._preempted),
            ("killed", self._killed),
        )
        for name, scenario in scenarios:
            try:
                async with asyncio.timeout(WAIT_S):
                    self._row.checks[name] = await scenario()
            except (AssertionError, TimeoutError) as error:
                self._row.checks[name] = "no"
                self._row.reasons.append(f"{name}: {error or 'no end'}")

    # -- what is checked --------------------------------------------------------------------------

    async def _alone(self) -> Verdict:
        """Two prompts, one after the other, bring the tokens of bare llama.cpp."""
        streams = [await self._ask(prompt) for prompt in self._short()]
        agrees = self._bare.agrees_sliced
        return await self._both(streams, agrees, "its prompt in two parts")

    async def _beside(self) -> Verdict:
        """Both at once bring the same."""
        streams = await asyncio.gather(*(self._ask(prompt) for prompt in self._short()))
        agrees = self._bare.agrees_together and self._bare.agrees_sliced
        return await self._both(streams, agrees, "two sequences in one batch")

    async def _turn(self) -> Verdict:
        """A second turn, after the model's own answer, computes only what is new."""
        first = await self._ask(self._chat.first)
        expected = self._bare.later.after_long[:N_TOKENS]
        said = await self._said(
            self._asked.long, first, expected, self._agrees_turn, "a long prompt in parts"
        )
        if said == "no":
            return said
        return await self._reused(self._own_turn(), self._bare.later.turn, self._agrees_turn)

    async def _edited(self) -> Verdict:
        """So does a second turn after another answer, as a chat."""
        later = self._bare.later
        return await self._reused(self._chat.edited, later.edited, later.agrees_edited)

    async def _cancelled(self) -> Verdict:
        """A stream whose client leaves frees its cells, and the next one is right."""
        stream = Stream(enough_tokens=_FEW)
        request = self._request(self._asked.long, n_tokens=self._asked.n_long)
        leaving = asyncio.create_task(collect(self._client, request, stream))
        await stream.enough.wait()
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await self._until(lambda metrics: not metrics.kv_cells_used)
        return await self._alone()

    async def _parked(self) -> Verdict:
        """A turn whose cells had to make room for strangers computes only what is new."""
        await self._ask(self._own_turn(), n_tokens=1)
        left = self._served.n_cells + _SPARE_CELLS
        while left > 0:
            stranger = self._stranger(left)
            await self._ask(stranger, n_tokens=1)
            left -= len(stranger)
        said = await self._reused(self._own_turn(), self._bare.later.turn, self._agrees_turn)
        if said == "cold" and len(self._own_turn()) < _SLAB_TOKENS:
            self._row.reasons.append("its contexts are too short to be parked")
            return "-"
        return said

    async def _preempted(self) -> Verdict:
        """A background stream that has to make room for others goes on where it was."""
        for _ in range(_ATTEMPTS):
            before = (await self._client.metrics()).preemptions
            stream = await self._pressed()
            if (await self._client.metrics()).preemptions > before:
                return await self._whole(stream)
        self._row.reasons.append("it was never preempted")
        return "-"

    async def _pressed(self) -> Stream:
        """A background stream, and strangers who need its cells before it ends."""
        stream, running = await self._long_stream(BACKGROUND)
        left = self._served.n_cells - len(self._asked.long) - self._asked.n_long + _SPARE_CELLS
        others = []
        while left > 0:
            others.append(self._stranger(left))
            left -= len(others[-1])
        await asyncio.gather(*(self._ask(one, n_tokens=1) for one in others))
        await running
        return stream

    async def _killed(self) -> Verdict:
        """A stream whose engine is killed goes on with the next one."""
        for _ in range(_ATTEMPTS):
            before = await self._facts()
            stream, running = await self._long_stream(INTERACTIVE)
            assert before.pid is not None, "there is no engine"
            os.kill(before.pid, signal.SIGKILL)
            await running
            if stream.done is not None and (await self._facts()).restarts > before.restarts:
                return await self._whole(stream)
        self._row.reasons.append("it had ended before its engine was killed")
        return "-"

    async def _facts(self) -> ModelRow:
        rows = await self._client.models()
        (mine,) = [row for row in rows if row.name == self._served.name]
        return mine

    # -- how --------------------------------------------------------------------------------------

    def _short(self) -> tuple[Tokens, ...]:
        return prompts(self._served.n_vocab)

    def _own_turn(self) -> Tokens:
        return self._asked.turn(self._bare.later.after_long[:N_TOKENS])

    @property
    def _agrees_turn(self) -> bool:
        return self._bare.later.agrees_turn

    async def _both(self, streams: Sequence[Stream], agrees: bool, where: str) -> Verdict:
        said: Verdict = "yes"
        for prompt, stream, expected in zip(self._short(), streams, self._bare.tokens, strict=True):
            one = await self._said(prompt, stream, expected, agrees, where)
            said = said if one == "yes" else one
        return said

    async def _whole(self, stream: Stream) -> Verdict:
        agrees = self._bare.later.agrees_read_anew and self._agrees_turn
        where = "an answer's first half, read anew"
        return await self._said(
            self._asked.long, stream, self._bare.later.after_long, agrees, where, anew=_ANEW
        )

    async def _reused(self, prompt: Tokens | Messages, expected: Tokens, agrees: bool) -> Verdict:
        stream = await self._ask(prompt)
        ids = self._asked.edited if prompt == self._chat.edited else cast(Tokens, prompt)
        said = await self._said(ids, stream, expected, agrees, "a long prompt in parts")
        assert stream.done is not None
        if said in ("yes", "ties") and not stream.done.usage.cached_tokens:
            return "cold"
        return said

    async def _said(
        self,
        prompt: Tokens,
        stream: Stream,
        expected: Tokens,
        agrees: bool,
        where: str,
        *,
        anew: Tokens = (),
    ) -> Verdict:
        if tuple(stream.ids) == expected:
            return "yes"
        if not agrees:
            reason = f"llama.cpp by itself decodes something else of {where}"
            if reason not in self._row.reasons:
                self._row.reasons.append(reason)
            return "differs"
        # Each token judged on those before it, by what the library's own slicings move.
        asked = Question(
            prompt=prompt,
            answer=tuple(stream.ids),
            first=dict.fromkeys(stream.ids, 0.0),
            anew=tuple(n for n in anew if n < len(stream.ids)),
        )
        (found,) = await asyncio.to_thread(judge, self._path, [asked], threads=1)
        if found.worst <= 2 * found.bound:
            return "ties"
        self._row.reasons.append(
            f"a token {found.worst:.3f} nats worse than the best (slicings move {found.bound:.3f})"
        )
        return "no"

    def _stranger(self, most: int) -> Tokens:
        size = min(most, self._served.n_positions - _SPARE_CELLS)
        return tuple(self._drawn.integers(3, min(self._served.n_vocab, 128), size).tolist())

    async def _long_stream(self, lane: str) -> tuple[Stream, asyncio.Task[Stream]]:
        """One whose first tokens have come."""
        stream = Stream(enough_tokens=_FEW)
        request = self._request(self._asked.long, n_tokens=self._asked.n_long, lane=lane)
        task = asyncio.create_task(collect(self._client, request, stream))
        await stream.enough.wait()
        return stream, task

    async def _ask(self, prompt: Tokens | Messages, n_tokens: int = N_TOKENS) -> Stream:
        stream = await collect(self._client, self._request(prompt, n_tokens=n_tokens))
        assert stream.failed is None, stream.failed.message
        return stream

    def _request(
        self, prompt: Tokens | Messages, *, n_tokens: int, lane: str = INTERACTIVE
    ) -> GenerateRequest:
        sampling = SamplingParams(temperature=0.0, max_tokens=n_tokens, ignore_eos=True)
        request = GenerateRequest(model=self._served.name, sampling=sampling, lane=lane)
        if isinstance(prompt[0], ChatMessage):
            return replace(request, messages=prompt)
        return replace(request, prompt_ids=prompt)

    async def _until(self, holds: Callable[[MetricsRow], bool]) -> None:
        for _ in range(round(WAIT_S / _POLL_S)):
            if holds(await self._client.metrics()):
                return
            await asyncio.sleep(_POLL_S)
        raise AssertionError("the cells of a stream whose client left are not free")


async def embeds(client: AsyncClient, name: str) -> Verdict:
    """Texts have vectors of size one, the same alone and beside another one."""
    texts = ("a word", "some other words, and more of them")
    both = await client.embed(texts, model=name)
    alone = await client.embed(texts[:1], model=name)
    vectors = np.asarray(both.vectors, np.float32)
    sizes = np.linalg.norm(vectors, axis=1)
    near = np.allclose(vectors[0], np.asarray(alone.vectors, np.float32)[0], atol=1e-3)
    return "yes" if near and np.allclose(sizes, 1.0, atol=1e-3) else "no"
