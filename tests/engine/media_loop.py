"""The real scheduler, runner and projector, step by step: greedy answers to prompts with media.

Not a test.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umad.clock import MonotonicClock
from umad.config import EngineSettings, SchedulerSettings, Settings
from umad.engine.execution import no_decode
from umad.engine.facts import StepTraffic
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp.backend import BACKEND
from umad.engine.llamacpp.llama import Model
from umad.engine.llamacpp.projector import Projector
from umad.engine.media.desk import MediaDesk
from umad.engine.media.prompt import laid_out
from umad.engine.media.rows import RowCache
from umad.engine.steps.cutter import Cutter
from umad.media.medium import Medium
from umad.request import INTERACTIVE
from umad.scheduler import SchedulerSpec, Submission, assemble
from umad.step import MemoryOp, Sampled, StepPlan, StepResult

Part = str | Medium
Logits = NDArray[np.float32]


class MediaLoop:
    """One engine without mail. plans: every plan that ran. memory: what was done between them, too.
    logits: of each token drawn, by rid."""

    def __init__(self, text: Path, projector: Path, **settings: int | str) -> None:
        values: dict[str, int | str] = {
            "ctx_size": 1024,
            "max_seqs": 4,
            "threads": 1,
            "gpu_layers": 0,
            "park_bytes": 0,
            "kv_type": "q8",
        }
        self.clock = MonotonicClock()
        engine = EngineSettings(**{**values, **settings}, mmproj=str(projector))  # type: ignore[arg-type]
        options = EngineOptions(name="m", path=str(text), engine=engine)
        self.model = model = BACKEND.open(options, now_ns=self.clock.now_ns, costs_folder=None)
        assert isinstance(model.media, Projector)
        self.encoder = model.media
        self.desk = MediaDesk(model.media, RowCache(2**26), now_ns=self.clock.now_ns)
        cutter = Cutter(abort=model.abort.set, clear=model.abort.clear)
        slabs, states = model.slabs(), model.states()
        self.runner = model.runner(
            cutter=cutter, now_ns=self.clock.now_ns, slabs=slabs, states=states, media=self.desk
        )
        facts = model.facts
        self.scheduler = assemble(
            SchedulerSpec(
                n_cells=facts.n_cells,
                max_seqs=facts.max_seqs,
                batch_tokens=model.batch_tokens,
                settings=SchedulerSettings(),
                latency_cap=1.2,
                lanes=Settings().qos,
                can_share_prefix=facts.can_share_prefix,
                shares_at=facts.shares_at,
                beginnings=model.beginnings,
                parking=model.parking,
                cost=model.cost,
                traffic=StepTraffic(
                    weights=facts.weights,
                    kv_cell_bytes=facts.kv_cell_bytes,
                    n_vocab=facts.n_vocab,
                    ubatch=512,
                ),
                has_rows=self.desk.has_rows,
            )
        )
        self.plans: list[StepPlan] = []
        self.memory: list[MemoryOp] = []
        self.logits: dict[int, list[Logits]] = {}
        self.ids: dict[int, list[int]] = {}
        self.cached: dict[int, int] = {}
        # Where the runs of rows begin and end, by rid.
        self.spans: dict[int, list[tuple[int, int]]] = {}
        self.errors: dict[int, str] = {}

    def submit(
        self,
        rid: int,
        *parts: Part,
        n_new: int = 4,
        lane: str = INTERACTIVE,
        resume: Sequence[int] = (),
    ) -> int:
        """Ask; return the cells of the prompt."""
        laid = laid_out(
            [part if isinstance(part, Medium) else self.tokens_of(part) for part in parts],
            self.encoder,
            most_rows=self.model.batch_tokens,
        )
        self.desk.take(rid, laid.runs)
        self.spans[rid] = [(span.start, span.end) for span in laid.spans]
        whole = np.concatenate([laid.tokens, np.asarray(resume, np.int32)]).astype(np.int32)
        self.scheduler.submit(
            Submission(
                rid=rid,
                tokens=whole,
                n_prompt=laid.tokens.size,
                max_new_tokens=n_new,
                lane=lane,
                app=str(rid),
                spans=laid.spans,
            ),
            self.clock.now_ns(),
        )
        self.ids[rid], self.logits[rid] = [], []
        return int(laid.tokens.size)

    def tokens_of(self, text: str) -> NDArray[np.int32]:
        """int32 (n,)."""
        tokens = self.model.tokens
        assert isinstance(tokens, Model)
        ids = tokens.tokenize(text.encode(), add_special=False, parse_special=True)
        return np.asarray(ids, np.int32)

    def step(self) -> StepPlan:
        """Plan and run one step."""
        plan = self.scheduler.plan(self.clock.now_ns())
        self.memory += plan.memory
        if plan.is_idle:
            kept = self.runner.keep_house(plan.memory)
            self.scheduler.kept_house(plan, kept, self.clock.now_ns())
            return plan
        self.plans.append(plan)
        turned = None if plan.encode is None else self.desk.encode(plan.encode)
        if plan.decodes:
            decoded = self.runner.run(plan)
        else:
            decoded = no_decode(self.runner.keep_house(plan.memory))
        drawn = []
        for rid, row in zip(decoded.rids, decoded.logits, strict=False):
            self.logits[rid].append(row.copy())
            self.ids[rid].append(int(row.argmax()))
            drawn.append(Sampled(rid, int(row.argmax())))
        result = StepResult(
            outcome=decoded.outcome,
            sampled=tuple(drawn),
            device_ms=decoded.device_ns / 1e6,
            house=decoded.house,
            seq_lengths=self.runner.lengths(plan) if decoded.outcome == "cut" else (),
            media_ms=(decoded.rows_ns + (turned.ns if turned else 0)) / 1e6,
            is_encoded=turned is not None and turned.is_done,
        )
        for finished in self.scheduler.apply(plan, result, self.clock.now_ns()):
            self.desk.leave(finished.rid)
            self.cached[finished.rid] = finished.cached_tokens
        if turned is not None and turned.error is not None and plan.encode is not None:
            self.errors[plan.encode.rid] = turned.error.message
            self.cancel(plan.encode.rid)
        return plan

    def stop(self, rid: int) -> None:
        """End it, and keep what it has computed."""
        self.scheduler.stop(rid)
        self.desk.leave(rid)

    def cancel(self, rid: int) -> None:
        self.scheduler.cancel(rid)
        self.desk.leave(rid)

    def run(self) -> None:
        """Until nothing is left to do."""
        for _ in range(5000):
            if self.step().is_idle and not self.scheduler.has_work:
                return
        raise AssertionError("it does not end")

    def answer(self, rid: int, *parts: Part, **options: int) -> list[Logits]:
        """The logits that each token of an answer was drawn from."""
        self.submit(rid, *parts, **options)  # type: ignore[arg-type]
        self.run()
        return self.logits[rid]

    @property
    def n_encoded(self) -> int:
        return self.desk.cache.misses

    def close(self) -> None:
        self.desk.close()
        self.model.close()


def same(one: Sequence[Logits], other: Sequence[Logits]) -> bool:
    """Whether two answers have equal logits, bit for bit."""
    return len(one) == len(other) > 0 and all(
        bool((a == b).all()) for a, b in zip(one, other, strict=True)
    )
