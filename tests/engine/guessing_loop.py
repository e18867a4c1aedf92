"""A step loop that may guess next tokens, on any runner, and all that its clients learn.

Time passes only as it is looked at, and further rows are told to cost next to nothing. So which
guesses are verified follows from the tokens alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.engine.served_loop import EOG, N_VOCAB, letter, on_small_pool
from umad.engine.constraints.thinking_limit import Mask
from umad.engine.drafts.drafter import OpenDraft
from umad.engine.execution import Decoded, StepRunner
from umad.engine.mail.step_mail import Arrival, Mail, StepMail
from umad.engine.mail.step_news import News, encode_news
from umad.engine.steps.completion_stream import CompletionStream
from umad.protocol.link import (
    Emitted,
    Ended,
    EngineReply,
    FromEngine,
    StepReport,
    Stop,
    decode,
)
from umad.request import INTERACTIVE, SamplingParams
from umad.sampling.detokenizer import Detokenizer
from umad.sampling.sampler import Sampler
from umad.scheduler import Submission
from umad.scheduler.costs.step_cost import CostModel
from umad.step import DiskDone, HouseKept, MemoryOp, StepPlan


def looked_at(ns: int = 1000) -> Callable[[], int]:
    """A clock that goes on by so much each time it is looked at."""
    return iter(range(0, 10**9 * ns, ns)).__next__


GREEDY = SamplingParams(temperature=0.0, max_tokens=90)
SAMPLED = SamplingParams(temperature=0.9, top_k=0, top_p=1.0, min_p=0.0, max_tokens=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request of a test."""

    rid: int = 1
    prompt: tuple[int, ...] = (3, 4, 5, 6, 7, 8) * 4
    sampling: SamplingParams = GREEDY
    seed: int = 1
    lane: str = INTERACTIVE
    app: str = "app"
    owner: str = ""
    leaves_nothing: bool = False
    speculates: bool = True
    mask: Callable[[], Mask] | None = None
    n_vocab: int = N_VOCAB
    eog: frozenset[int] = EOG

    def arrival(self) -> Arrival:
        tokens = np.array(self.prompt, np.int32)
        max_tokens = self.sampling.max_tokens
        assert max_tokens is not None
        mask = None if self.mask is None else self.mask()
        return Arrival(
            stream=CompletionStream(
                rid=self.rid,
                sampler=Sampler(
                    self.sampling,
                    seed=self.seed,
                    n_vocab=self.n_vocab,
                    eog=self.eog,
                    history=tokens,
                ),
                detokenizer=Detokenizer(letter, stops=self.sampling.stop),
                eog=self.eog,
                n_prompt=tokens.size,
                n_generated=0,
                text_decides=bool(self.sampling.stop),
                guarded=self.lane == INTERACTIVE,
                mask=mask,
            ),
            admission=Submission(
                rid=self.rid,
                tokens=tokens,
                n_prompt=tokens.size,
                max_new_tokens=max_tokens,
                lane=self.lane,
                app=self.app,
                owner=self.owner,
                leaves_nothing=self.leaves_nothing,
                speculates=self.speculates,
                forced=None if mask is None else mask.forced,
            ),
        )


class Answers:
    """The answers of some requests, and the plans that ran for them."""

    def __init__(
        self,
        runner: StepRunner,
        *asked: Asked,
        speculates: bool,
        now_ns: Callable[[], int] | None = None,
        mail: Mapping[int, Sequence[Mail]] | None = None,
        draft: OpenDraft | None = None,
        n_cells: int = 512,
        later: Sequence[Mail | Asked] = (),
    ) -> None:
        """now_ns: the runner's time, where it has one. It passes only as it is looked at.
        mail: what comes while the step of this number runs. draft: guesses tokens, in no time.
        later: what comes when all requests before it have ended, one after the other.
        """
        self._runner = runner
        self._mail = dict(mail or {})
        self._later = list(later)
        self._n_live = len(asked)
        self.plans: list[StepPlan] = []
        self.reports: list[StepReport] = []
        self.inbox = inbox = StepMail()
        for one in asked:
            inbox.put(one.arrival())
        if not self._mail and not self._later:
            inbox.put(Stop())
        cost = CostModel()  # a decode takes a millisecond, and further rows next to nothing
        cost.learn_all([(n, 0, 1.0 + 0.001 * n) for n in (1, 2, 4, 8, 16)])
        on_small_pool(
            self,
            inbox=inbox,
            hear=self._hear,
            now_ns=now_ns or looked_at(),
            max_seqs=16,
            cost=cost,
            speculates=speculates,
            draft=draft,
            n_vocab=asked[0].n_vocab,
            n_cells=n_cells,
        ).run()

    # -- a runner that writes plans down

    def keep_house(self, operations: tuple[MemoryOp, ...]) -> HouseKept:
        return self._runner.keep_house(operations)

    def run(self, plan: StepPlan) -> Decoded:
        self.plans.append(plan)
        came = self._mail.pop(len(self.plans), ())
        for one in came:
            self.inbox.put(one)
        if came and not self._mail and not self._later:
            self.inbox.put(Stop())
        return self._runner.run(plan)

    def disk_done(self, report: DiskDone) -> None:
        self._runner.disk_done(report)

    def lengths(self, plan: StepPlan) -> tuple[tuple[int, int], ...]:
        return self._runner.lengths(plan)

    # -- what clients heard

    def _hear(self, message: News | FromEngine) -> None:
        if isinstance(message, EngineReply):
            assert message.error is None
            return
        assert isinstance(message, News)
        told = decode(encode_news(message))
        assert isinstance(told, StepReport)
        self.reports.append(told)
        self._n_live -= len(told.ended)
        while self._later and not self._n_live:
            came = self._later.pop(0)
            self._n_live += isinstance(came, Asked)
            self.inbox.put(came.arrival() if isinstance(came, Asked) else came)
            if not self._later and not self._mail:
                self.inbox.put(Stop())

    def rows(self, rid: int) -> list[int]:
        """The positions whose logits its client was shown."""
        return [at for report in self.reports for one, at in report.logits if one == rid]

    def emitted(self, rid: int) -> list[Emitted]:
        return [one for report in self.reports for one in report.emitted if one.rid == rid]

    def told(self, rid: int = 1) -> tuple[list[int], str, list[Any], list[Ended]]:
        """All that a client learns of its answer."""
        news = self.emitted(rid)
        return (
            [token for one in news for token in one.ids],
            "".join([one.text for one in news]),
            [one.logprobs for one in news if one.logprobs is not None],
            [one for report in self.reports for one in report.ended if one.rid == rid],
        )

    def n_steps_of(self, rid: int) -> int:
        return sum(any(row.rid == rid for row in plan.decode) for plan in self.plans)

    @property
    def n_steps(self) -> int:
        return sum(bool(plan.decode) for plan in self.plans)

    @property
    def n_drafted(self) -> int:
        return sum(len(one.tokens) for plan in self.plans for one in plan.guesses if one.drafted)

    @property
    def n_guesses(self) -> int:
        return sum(plan.n_guesses for plan in self.plans)
