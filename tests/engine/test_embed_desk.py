"""Texts from the mail to their answers: what is kept on the way, dropped, or cannot be computed."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from umad.engine.embedding.answer import Answer
from umad.engine.embedding.cache import VectorCache, text_key
from umad.engine.embedding.desk import EmbedDesk
from umad.engine.embedding.lookup import look_up
from umad.engine.embedding.work import AnswerForm, Embedded, TextVector
from umad.engine.mail.step_mail import DropEmbed, EmbedArrival
from umad.errors import EngineFailed
from umad.protocol.link import EngineReply
from umad.request import BACKGROUND, INTERACTIVE
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.embeds.queue import EmbedAdmission, EmbedQueue, EmbedShape
from umad.step import EmbedSlice, StepPlan

WIDTH = 2
LONG_MS = 1e9


@dataclass
class Runner:
    """Makes the vector (first token, number of tokens) of each text."""

    fails: bool = False
    forgotten: list[int] = field(default_factory=list)
    n_rested: int = 0

    def forget(self, call: int) -> None:
        self.forgotten.append(call)

    def run(self, work: EmbedSlice, *, cuttable: bool) -> Embedded:
        if self.fails:
            error = EngineFailed("there is no memory")
            return Embedded(was_cut=True, failed={piece.call: error for piece in work.pieces})
        return Embedded(
            vectors=[
                TextVector(
                    call=piece.call,
                    index=piece.index,
                    vector=np.array([piece.tokens[0], piece.tokens.size], np.float32),
                )
                for piece in work.pieces
                if piece.ends
            ]
        )

    def rest(self, now_ns: int) -> bool:
        self.n_rested += 1
        return False

    def close(self) -> None:
        """Does nothing."""


class Bench:
    """A desk with what is around it. A step takes two texts of one token each."""

    def __init__(self, *, fails: bool = False) -> None:
        self.queue = EmbedQueue(
            EmbedShape(rows=2, seqs=2, whole=True),
            priority={INTERACTIVE: 10, BACKGROUND: 1},
            guarded=frozenset({INTERACTIVE}),
            like=CostModel().prefill,
        )
        self.cache = VectorCache(2**20)
        self.runner = Runner(fails=fails)
        self.replies: list[EngineReply] = []
        self.desk = EmbedDesk(self.queue, self.runner, self.replies.append, self.cache)

    def ask(self, call: int, *first: int, lane: str = INTERACTIVE) -> None:
        texts, missing = look_up(self.cache, "ada", [np.array([one], np.int32) for one in first])
        answer = Answer(call, texts, AnswerForm(width=WIDTH, normalize=False))
        admission = EmbedAdmission(call=call, lane=lane, app="a", inputs=missing, owner="ada")
        self.desk.read(EmbedArrival(answer=answer, admission=admission), 0)

    def step(self) -> None:
        work = self.queue.next(LONG_MS, 0, careful=False)
        embedded = self.desk.run(StepPlan(embed=work), 0)
        self.queue.settle(work, 1.0, 0, was_cut=embedded.was_cut)
        self.desk.answer(embedded)

    def firsts(self, reply: EngineReply) -> list[float]:
        rows = np.frombuffer(reply.value["vectors"], "<f4").reshape(-1, WIDTH)
        return [float(one) for one in rows[:, 0]]

    def knows(self, *first: int) -> list[bool]:
        keys = [text_key(np.array([one], np.int32)) for one in first]
        return [self.cache.find("ada", key) is not None for key in keys]


def test_a_request_is_answered_when_its_last_text_is_there() -> None:
    bench = Bench()
    bench.ask(1, 10, 11, 12)

    bench.step()
    assert not bench.replies

    bench.step()
    assert bench.firsts(bench.replies[0]) == [10, 11, 12]
    assert bench.knows(10, 11, 12) == [True] * 3


def test_texts_of_two_requests_share_a_step_and_each_has_its_own() -> None:
    bench = Bench()
    bench.ask(1, 10)
    bench.ask(2, 20)

    bench.step()

    assert {reply.call: bench.firsts(reply) for reply in bench.replies} == {1: [10], 2: [20]}


def test_what_was_computed_before_a_request_was_dropped_is_of_use_to_the_next() -> None:
    bench = Bench()
    bench.ask(1, 10, 11, 12, 13)
    bench.step()

    bench.desk.read(DropEmbed(call=1), 0)

    assert (len(bench.queue), bench.runner.forgotten, bench.replies) == (0, [1], [])
    bench.ask(2, 12, 11, 10)
    bench.step()
    assert bench.firsts(bench.replies[0]) == [12, 11, 10]
    assert bench.replies[0].value["cached_inputs"] == 2


def test_without_memory_for_its_texts_a_request_is_refused_and_the_next_one_is_not() -> None:
    bench = Bench(fails=True)
    bench.ask(1, 10, 11)

    bench.step()

    assert bench.replies[0].error is not None
    assert bench.replies[0].error[0] == "engine_failed"
    assert len(bench.queue) == 0
    bench.runner.fails = False
    bench.ask(2, 10)
    bench.step()
    assert bench.firsts(bench.replies[1]) == [10]


def test_a_lane_that_nobody_has_is_refused_and_leaves_nothing() -> None:
    bench = Bench()

    bench.ask(1, 10, lane="fast")

    assert bench.replies[0].error is not None
    assert bench.replies[0].error[0] == "bad_request"
    assert len(bench.queue) == 0


@pytest.mark.parametrize("waits", [True, False])
def test_the_context_is_given_back_only_while_nobody_waits(waits: bool) -> None:
    bench = Bench()
    if waits:
        bench.ask(1, 10)

    bench.desk.run(StepPlan(), 0)

    assert bench.runner.n_rested == (0 if waits else 1)
