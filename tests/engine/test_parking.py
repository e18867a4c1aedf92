"""Parking with the real engine and the model that ships: nothing is lost, nothing is done twice."""

from pathlib import Path
from typing import Any

from tests.engine.harness import RunningEngine, engine, submit
from umad.protocol.link import StepStats
from umad.request import BACKGROUND, INTERACTIVE

# Streams and prefixes of some hundred tokens: two of them fill it. With quantised KV the bits of a
# result do not depend on how a prompt was sliced (bench/determinism.py), so tokens can be compared.
TINY_POOL: dict[str, Any] = {"ctx_size": 512, "batch": 128, "ubatch": 128, "kv_type": "q8"}


def story(which: int, n_tokens: int) -> tuple[int, ...]:
    """A prompt unlike any other."""
    return tuple(300 + (which * 977 + i * i * 31 + i * which) % 3000 for i in range(n_tokens))


def stats(running: RunningEngine) -> list[StepStats]:
    return [report.stats for report in running.reports if report.stats is not None]


def prefilled(running: RunningEngine) -> int:
    return sum(one.n_prefill_tokens for one in stats(running))


def test_a_stream_that_was_parked_goes_on_with_the_very_same_tokens(nano_path: Path) -> None:
    prompt, strangers = story(1, 200), {rid: story(rid, 400) for rid in (2, 3, 4)}
    # So long an answer that it has not ended when this process hears of its beginning.
    asked: dict[str, Any] = {"prompt_ids": prompt, "max_tokens": 300, "ignore_eos": True}
    with engine(nano_path, **TINY_POOL) as running:
        running.ready()
        undisturbed = running.generate(1, **asked)

    with engine(nano_path, **TINY_POOL) as running:
        running.ready()
        running.send(submit(1, lane=BACKGROUND, **asked))
        while len(running.of(1).ids) < 20:
            running.hear()
        for rid, stranger in strangers.items():  # each needs all of the pool
            running.generate(rid, prompt_ids=stranger, max_tokens=100, ignore_eos=True)
        parked = running.finish(1)[0]
        last = stats(running)[-1]

    assert parked.ids == undisturbed.ids
    assert last.preemptions_total >= 1
    assert max(one.parked for one in stats(running)) >= 1
    # A token that was drawn but not computed when its stream had to go is computed as a prompt's.
    assert prefilled(running) <= 200 + 3 * 400 + last.preemptions_total


def test_a_second_turn_is_not_computed_again_though_many_others_came_between(
    nano_path: Path,
) -> None:
    first = story(1, 300)
    with engine(nano_path, **TINY_POOL) as running:
        running.ready()
        answer = running.generate(
            1, prompt_ids=first, session="chat", max_tokens=20, ignore_eos=True
        )
        for rid in range(2, 12):
            running.generate(rid, prompt_ids=story(rid, 300), max_tokens=4)
        second = (*first, *answer.ids, *story(99, 10))
        turn = running.generate(50, prompt_ids=second, session="chat", max_tokens=4)

    # The last token of an answer is never computed.
    assert turn.ending.cached_tokens == 300 + 19


def test_a_conversation_that_moved_out_of_the_others_way_goes_on_with_the_very_same_tokens(
    nano_path: Path,
) -> None:
    first = story(1, 600)

    def turns(running: RunningEngine, *, others: int) -> tuple[list[int], int | None]:
        running.ready()
        answer = running.generate(
            1, prompt_ids=first, session="chat", max_tokens=20, ignore_eos=True
        )
        for rid in range(2, 2 + others):
            running.generate(rid, prompt_ids=story(rid, 30), max_tokens=300, ignore_eos=True)
        second = (*first, *answer.ids, *story(99, 10))
        turn = running.generate(
            50, prompt_ids=second, session="chat", max_tokens=20, ignore_eos=True
        )
        return list(turn.ids), turn.ending.cached_tokens

    pool = TINY_POOL | {"ctx_size": 4096}  # nobody needs its room
    with engine(nano_path, **pool) as running:
        undisturbed = turns(running, others=0)
    with engine(nano_path, **pool) as running:
        moved = turns(running, others=2)
        everything = stats(running)

    assert moved == undisturbed
    assert moved[1] == 600 + 19
    assert max(one.parked for one in everything) >= 1
    assert min(one.cells_retained for one in everything[-50:]) < 600


def test_without_room_to_park_the_same_tokens_come_and_are_computed_again(nano_path: Path) -> None:
    prompt = story(1, 200)
    outcomes = []
    for park_bytes in (0, None):
        with engine(nano_path, **TINY_POOL, park_bytes=park_bytes) as running:
            assert (running.ready()["park_bytes"] > 0) is (park_bytes is None)
            first = running.generate(1, prompt_ids=prompt, max_tokens=20, ignore_eos=True)
            running.generate(2, prompt_ids=story(2, 400), max_tokens=100, ignore_eos=True)
            again = running.generate(3, prompt_ids=prompt, max_tokens=20, ignore_eos=True)
            assert again.ids == first.ids
            outcomes.append(again.ending.cached_tokens)

    assert outcomes == [0, 199]


def test_work_of_many_times_the_pool_completes_all_of_it(nano_path: Path) -> None:
    rids = range(1, 25)
    lanes = (INTERACTIVE, BACKGROUND, BACKGROUND)
    with engine(nano_path, **TINY_POOL, park_bytes=2**20) as running:
        running.ready()
        running.send(
            *[
                submit(
                    rid,
                    lane=lanes[rid % 3],
                    prompt_ids=story(rid % 9, 60 + 17 * (rid % 11)),
                    max_tokens=24,
                    ignore_eos=True,
                )
                for rid in rids
            ]
        )
        done = running.finish(*rids)

    assert [one.ending.reason for one in done] == ["length"] * len(rids)
    assert all(len(one.ids) == 24 for one in done)
