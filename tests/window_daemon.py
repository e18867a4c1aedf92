"""Random schedules through a daemon: a chat whose turns are edited and told again, strangers beside
it, and two editors that complete while it goes on and often do not wait for the end.

Not tests. Everything that was answered, whole or in part, is judged against the cold answer.
"""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field

import numpy as np

from tests.cold_answers import ColdAnswers, Judged
from tests.live import LiveDaemon
from tests.schedules import Ask, Tokens, Traffic, schedule
from umad.client import AsyncClient
from umad.request import BACKGROUND, INTERACTIVE, GenerateRequest, SamplingParams
from umad.service import Done, Failed
from umad.service import Tokens as NewTokens

N_LOGPROBS = 20
N_EDITORS = 2
N_EDITS = 6  # of each
WAIT_S = 60.0


@dataclass(slots=True)
class Answer:
    """first: log-probabilities of the likeliest first tokens. started: one has come."""

    prompt: Tokens
    ids: list[int] = field(default_factory=list)
    first: dict[int, float] = field(default_factory=dict)
    cached_tokens: int = 0
    started: asyncio.Event = field(default_factory=asyncio.Event)


class Crowd:
    """The clients of one daemon. answers: all that came."""

    def __init__(self, daemon: LiveDaemon, traffic: Traffic | None = None) -> None:
        self._daemon = daemon
        self._traffic = traffic or Traffic()
        self.answers: list[Answer] = []

    def run(self, seed: int) -> None:
        """One schedule to its end."""
        asyncio.run(self._run(seed))

    async def _run(self, seed: int) -> None:
        over = asyncio.Event()
        async with self._daemon.client() as client, asyncio.TaskGroup() as tasks:
            for which in range(N_EDITORS):
                tasks.create_task(self._edit(client, seed * N_EDITORS + which, over))
            try:
                await self._chat(client, seed)
            finally:
                over.set()

    async def _chat(self, client: AsyncClient, seed: int) -> None:
        rounds = schedule(seed, self._traffic)
        asks = next(rounds)
        while True:
            answers = await asyncio.gather(*[self._ask(client, ask) for ask in asks])
            try:
                asks = rounds.send(tuple([tuple(one.ids) for one in answers]))
            except StopIteration:
                return

    async def _edit(self, client: AsyncClient, seed: int, over: asyncio.Event) -> None:
        drawn = np.random.default_rng([seed, 1])
        low, high = self._traffic.first_token, self._traffic.end_token
        text = drawn.integers(low, high, 60).tolist()
        for _ in range(N_EDITS):
            if over.is_set():
                return
            at = int(drawn.integers(20, len(text) + 1))
            typed = drawn.integers(low, high, int(drawn.integers(1, 8))).tolist()
            text = (text[:at] + typed + text[at:])[: self._traffic.longest // 2]
            prompt = tuple(text[: at + len(typed)])
            ask = Ask(prompt=prompt, n_tokens=int(drawn.integers(1, 17)), app=f"editor {seed % 2}")
            await self._ask(client, ask, gives_up_after=int(drawn.integers(1, 17)))

    async def _ask(
        self, client: AsyncClient, ask: Ask, gives_up_after: int | None = None
    ) -> Answer:
        answer = Answer(prompt=ask.prompt)
        self.answers.append(answer)
        await answered(client, ask, answer, gives_up_after)
        return answer


async def answered(
    client: AsyncClient, ask: Ask, answer: Answer, gives_up_after: int | None = None
) -> None:
    """Until the answer has ended, or has so many tokens and is given up."""
    request = GenerateRequest(
        prompt_ids=ask.prompt,
        sampling=SamplingParams(
            temperature=0.0, max_tokens=ask.n_tokens, ignore_eos=True, logprobs=N_LOGPROBS
        ),
        lane=BACKGROUND if ask.background else INTERACTIVE,
        session=ask.session,
        app=ask.app,
    )
    async with asyncio.timeout(WAIT_S), aclosing(client.generate(request)) as events:
        async for event in events:
            if isinstance(event, NewTokens):
                if not answer.ids:
                    assert event.logprobs is not None
                    answer.first = dict(event.logprobs[0].top)
                answer.ids.extend(event.ids)
                answer.started.set()
                if gives_up_after is not None and len(answer.ids) >= gives_up_after:
                    return
            elif isinstance(event, Done):
                answer.cached_tokens = event.usage.cached_tokens
            elif isinstance(event, Failed):
                raise AssertionError(event)


def judge_all(answers: list[Answer], cold: ColdAnswers) -> list[Judged]:
    """Every answer that has a token."""
    return [cold.judge(one.prompt, one.ids, one.first) for one in answers if one.ids]


def bound_of(answers: list[Answer], cold: ColdAnswers, *, n_slicings: int) -> float:
    """Nats between slicings of the same prompts by the bare library."""
    drawn = np.random.default_rng(0)
    prompts = {one.prompt for one in answers}
    return max(cold.slicings(one, N_LOGPROBS, drawn, n_slicings) for one in sorted(prompts))
