"""Long prompts that an arrival cuts in the middle of a step, on a real engine."""

import functools
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.engine.harness import RunningEngine, start, submit
from tests.memory_kinds import write
from umad import nano
from umad.config import EngineSettings, KvType, SchedulerSettings
from umad.engine.launch import EngineOptions
from umad.protocol.link import CancelOrder
from umad.request import BACKGROUND, INTERACTIVE

ARRIVALS = 12
TRIES = 10
PROMPT = "def add(a, b):\n    return"
# Each try has an engine of its own, where it has to. Mostly one or two are enough; a machine that
# others use cuts slices short, or runs this process only when they are over.
ENGINES = 40
# The small model with a state alone reads no faster in larger slices than these.
SHORT_MS = 0.5
pytestmark = pytest.mark.timeout(600)


def engine(
    *,
    ctx_size: int,
    batch: int,
    path: Path | None = None,
    kv_type: KvType = "q8",
    slice_ms: float = 5.0,
) -> AbstractContextManager[RunningEngine]:
    """Slices that cannot be cut are short, so that a long one shows: `slice_ms` alone, and ten
    times that beside a stream. kv_type q8: equal tokens give equal bits however they were sliced
    (bench/determinism.py)."""
    settings = EngineSettings(
        ctx_size=ctx_size,
        batch=batch,
        ubatch=batch,
        max_seqs=8,
        threads=1,
        gpu_layers=0,
        kv_type=kv_type,
    )
    return start(
        EngineOptions(
            name="model",
            path=str(path or nano.path()),
            engine=settings,
            scheduler=SchedulerSettings(slice_ms=slice_ms, newcomer_ms=10 * slice_ms),
        )
    )


def is_read_on(running: RunningEngine, rid: int) -> bool:
    """Wait until one more slice of a prompt has ended, so that the next one is under way; False
    where it was the last one.
    """
    request = running.of(rid)
    n_before = len(request.progress)
    while len(request.progress) == n_before and not request.ids:
        running.hear()
    return not request.ids


@pytest.mark.parametrize("lane", [BACKGROUND, INTERACTIVE])
def test_an_interactive_arrival_cuts_a_long_prompt_that_has_the_device_to_itself(
    lane: str,
) -> None:
    tokens = tuple(3 + n % 2000 for n in range(3000))
    with engine(ctx_size=8192, batch=1024) as running:
        running.ready()

        # An arrival finds a slice under way all but surely; the test needs one that does.
        for rid in range(1, 41):
            running.send(submit(1000 + rid, prompt_ids=(rid, *tokens), lane=lane))
            while not running.of(1000 + rid).progress:
                running.hear()
            running.generate(rid, prompt=PROMPT, max_tokens=2)
            running.send(CancelOrder(rid=1000 + rid))
            running.finish(1000 + rid)
            if running.last_stats.cuts_total:
                break

        assert running.last_stats.cuts_total > 0


@pytest.mark.parametrize("lane", [BACKGROUND, INTERACTIVE])
def test_a_prompt_that_was_cut_ends_like_one_that_was_not(lane: str) -> None:
    tokens = tuple(3 + n * n % 2000 for n in range(700))
    with engine(ctx_size=2048, batch=128) as running:
        running.ready()
        undisturbed = running.generate(1, prompt_ids=tokens, lane=lane)

    # Where others have the cores, an arrival may find no slice under way; the test needs one that
    # does. Each try has an engine of its own, because kept cells would change the last bits.
    for _ in range(ENGINES):
        with engine(ctx_size=2048, batch=128) as running:
            running.ready()
            running.send(submit(1, prompt_ids=tokens, lane=lane))
            # Some arrivals, and then peace: where others have the cores, each of many would cut.
            for rid in range(101, 101 + ARRIVALS):
                if not is_read_on(running, 1):
                    break
                # No two alike: one would give way to the other, and cells that fill its hole are
                # summed in another order, which shows in the last bits (bench/determinism.py).
                running.generate(rid, prompt=f"{rid} {PROMPT}", max_tokens=1)
            running.finish(1)

            assert running.of(1).ids == undisturbed.ids
            if running.last_stats.cuts_total:
                return
    raise AssertionError(f"no arrival of {ENGINES * ARRIVALS} met a slice under way")


@pytest.mark.parametrize(
    ("kind", "lane"),
    [
        ("delta net", BACKGROUND),
        ("delta net", INTERACTIVE),
        ("mamba hybrid", INTERACTIVE),
        ("recurrent", INTERACTIVE),
    ],
)
def test_a_long_prompt_with_a_recurrent_state_is_cut_and_both_answers_are_right(
    kind: str, lane: str, tmp_path: Path
) -> None:
    model = write(tmp_path / "model.gguf", kind)
    kv_type: KvType = "f16" if kind == "recurrent" else "q8"  # it has no cells
    start_engine = functools.partial(
        engine, ctx_size=16384, batch=2048, path=model, kv_type=kv_type, slice_ms=SHORT_MS
    )
    long = tuple(3 + (n * n * 31 + n) % 370 for n in range(3000))
    short = tuple(3 + (n * 17) % 370 for n in range(12))
    with start_engine() as running:
        running.ready()
        answer = running.generate(1, prompt_ids=long, lane=lane, max_tokens=8).ids
    with start_engine() as running:
        running.ready()
        beside = [
            running.generate(rid, prompt_ids=(rid, *short), max_tokens=4).ids
            for rid in range(101, 101 + TRIES)
        ]

    for _ in range(ENGINES):
        with start_engine() as running:
            running.ready()
            running.send(submit(1, prompt_ids=long, lane=lane, max_tokens=8))
            found = []
            for rid in range(101, 101 + TRIES):
                if not is_read_on(running, 1):
                    break
                found.append(running.generate(rid, prompt_ids=(rid, *short), max_tokens=4).ids)
                if running.of(1).ids or running.last_stats.cuts_total:
                    break
            was_first = not running.of(1).ids
            running.finish(1)

            assert running.of(1).ids == answer
            assert found == beside[: len(found)]
            if running.last_stats.cuts_total and was_first:
                return
    raise AssertionError(f"no arrival at {ENGINES} engines met a slice under way")
