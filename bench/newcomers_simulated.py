"""Simulates what first tokens beside running streams cost, on a device made of published figures.

The real scheduler plans for it. Beside it, the same clients are served as llama-server does: every
step takes all rows and all prompts that wait. A simulated step takes what a line through published
figures says for its rows (0.5B shape, two cores of an EPYC), and a few per cent of noise. So the
curve of a setting can be seen in seconds, also where other programs have the machine. Not a
measurement: kernels of odd sizes and the host's part are one factor of noise. `python -m bench
newcomers --simulated`
"""

import heapq
import random
from collections.abc import Sequence

import numpy as np

from bench.arrivals import Arrival
from bench.latency import Felt, Trace, felt
from bench.load import Load
from umad.config import SchedulerSettings, Settings
from umad.request import INTERACTIVE
from umad.scheduler import SchedulerSpec, Submission, assemble
from umad.scheduler.costs.step_cost import CostModel
from umad.step import Sampled, StepResult

# Rows and milliseconds: one, four and eight streams of bare llama.cpp, and its longest prompts.
STEPS = ((1, 16.6), (4, 60.2), (8, 68.0), (512, 1855.0))
NOISE, HOST_MS = 0.03, 1.0
_MS = 1_000_000
_VOCABULARY = 150_000
_BATCH = 512


class Clients:
    """The clients' side: who asks when, and what came to whom. Times are milliseconds."""

    def __init__(self, load: Load, seed: int) -> None:
        self._load = load
        self._random = random.Random(seed)
        self._asks = [(load.think_s * 1e3 * n / load.clients, n) for n in range(load.clients)]
        self._sent: dict[int, float] = {}
        self._times: dict[int, list[float]] = {}
        self._client: dict[int, int] = {}

    def asked(self, now_ms: float) -> list[int]:
        """Numbers of the requests that came until now."""
        came: list[int] = []
        while self._asks and self._asks[0][0] <= now_ms:
            at_ms, client = heapq.heappop(self._asks)
            number = len(self._sent)
            self._sent[number], self._times[number] = at_ms, []
            self._client[number] = client
            came.append(number)
        return came

    @property
    def next_ms(self) -> float:
        """When the next request comes, if nobody is served before."""
        return self._asks[0][0]

    def got(self, number: int, now_ms: float) -> bool:
        """A token came; whether it was the last one of its answer."""
        self._times[number].append(now_ms)
        if len(self._times[number]) < self._load.tokens:
            return False
        think_ms = 1e3 * self._load.think_s
        spread = think_ms * self._load.think_spread
        after_ms = self._random.uniform(think_ms - spread, think_ms + spread)
        heapq.heappush(self._asks, (now_ms + after_ms, self._client[number]))
        return True

    def felt(self, now_ms: float) -> Felt:
        """What they felt until now."""
        traces = [
            Trace(
                sent_ns=int(sent_ms * _MS),
                arrivals=tuple(
                    Arrival(at_ns=int(at_ms * _MS), tokens=n)
                    for n, at_ms in enumerate(self._times[number], 1)
                ),
                ended=len(self._times[number]) == self._load.tokens,
            )
            for number, sent_ms in self._sent.items()
        ]
        return felt(traces, opened_ns=0, closed_ns=int(now_ms * _MS))


class Device:
    """The simulated device."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._rows, self._ms = zip(*STEPS, strict=True)

    def expected_ms(self, n_rows: int) -> float:
        """A step of so many rows without noise."""
        return float(np.interp(n_rows, self._rows, self._ms))

    def step_ms(self, n_rows: int) -> float:
        """A step of so many rows."""
        return self.expected_ms(n_rows) * (1 + NOISE * self._random.random())


def served_whole(load: Load, *, seconds: float, seed: int) -> Felt:
    """What the clients feel where every step takes all rows and all prompts."""
    device, clients = Device(seed), Clients(load, seed)
    now_ms, rows = 0.0, dict[int, int]()
    while now_ms < 1e3 * seconds:
        rows |= dict.fromkeys(clients.asked(now_ms), load.prompt_tokens)
        if not rows:
            now_ms = clients.next_ms
            continue
        now_ms += device.step_ms(sum(rows.values())) + HOST_MS
        rows = {number: 1 for number in [*rows] if not clients.got(number, now_ms)}
    return clients.felt(now_ms)


def served_by_umad(
    load: Load, scheduler_settings: SchedulerSettings, *, seconds: float, seed: int
) -> Felt:
    """What the clients feel of umad's scheduler."""
    device, clients = Device(seed), Clients(load, seed)
    cost = CostModel()
    # As an engine's warm-up does on such a machine before anybody comes.
    cost.learn_all([(n, 0, device.expected_ms(n)) for n in (1, 2, 4, 8)])
    cost.learn_all([(0, n, device.expected_ms(n)) for n in (4, 16)])
    scheduler = assemble(
        SchedulerSpec(
            n_cells=2 * load.clients * (load.prompt_tokens + load.tokens) + _BATCH,
            max_seqs=4 * load.clients,
            batch_tokens=_BATCH,
            settings=scheduler_settings,
            latency_cap=Settings().latency_cap,
            lanes=Settings().qos,
            cost=cost,
        )
    )
    drawn = np.random.default_rng(seed)
    now_ms = 0.0
    while now_ms < 1e3 * seconds:
        now_ns = int(now_ms * _MS)
        for number in clients.asked(now_ms):
            submission = Submission(
                rid=number,
                tokens=drawn.integers(0, _VOCABULARY, load.prompt_tokens).astype(np.int32),
                n_prompt=load.prompt_tokens,
                max_new_tokens=load.tokens,
                lane=INTERACTIVE,
                app=f"app{number % load.clients}",
            )
            scheduler.submit(submission, now_ns)
        plan = scheduler.plan(now_ns)
        if plan.is_idle:
            scheduler.kept_house(plan, None, now_ns)
            now_ms = max(now_ms, clients.next_ms)
            continue
        device_ms = device.step_ms(plan.n_rows + plan.n_padding)
        now_ms += device_ms + HOST_MS
        rids = [row.rid for row in plan.decode]
        rids += [piece.rid for piece in plan.prefill if piece.wants_logits]
        for rid in rids:
            clients.got(rid, now_ms)
        result = StepResult(
            outcome="done",
            sampled=tuple(Sampled(rid=rid, token=1) for rid in rids),
            device_ms=device_ms,
            felt_ms=device_ms + HOST_MS,
        )
        scheduler.apply(plan, result, int(now_ms * _MS))
    return clients.felt(now_ms)


def curve(
    load: Load, settings: dict[str, SchedulerSettings], *, seconds: float, seeds: Sequence[int]
) -> dict[str, list[Felt]]:
    """What the clients feel of each of the named settings, and of llama-server's way, last."""
    found = {
        name: [served_by_umad(load, each, seconds=seconds, seed=seed) for seed in seeds]
        for name, each in settings.items()
    }
    found["llama-server"] = [served_whole(load, seconds=seconds, seed=seed) for seed in seeds]
    return found
