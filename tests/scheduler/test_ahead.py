"""Work that the engine does ahead of a next turn is nobody's, and leaves a prefix."""

import numpy as np

from tests.scheduler.fake_device import Bench
from umad.forgetting import ForgetScope
from umad.scheduler import Submission

CHAT = [int(token) for token in np.random.default_rng(1).integers(0, 1000, 400)]
SHOWN = [*CHAT[:300], *[int(t) for t in np.random.default_rng(2).integers(0, 1000, 200)]]


def submit_ahead(bench: Bench, tokens: list[int], *, session: str | None = None) -> None:
    bench.scheduler.submit(
        Submission(
            rid=-1,
            tokens=np.array(tokens, dtype=np.int32),
            n_prompt=len(tokens),
            max_new_tokens=1,
            lane="background",
            app="editor",
            session=session,
            ahead=True,
        ),
        bench.now_ns,
    )


def take_turn(bench: Bench, rid: int, tokens: list[int], **more: str) -> int:
    """Run a request to its end; its tokens that were there already."""
    bench.arrive(rid, 0, 4, prompt=tokens, **more)  # type: ignore[arg-type]
    while rid not in bench.ended:
        bench.step()
    return bench.ended[rid].cached_tokens


def test_the_next_turn_finds_all_of_it() -> None:
    bench = Bench()
    take_turn(bench, 1, CHAT)
    submit_ahead(bench, SHOWN)
    while -1 not in bench.ended:
        bench.step()

    assert take_turn(bench, 2, [*SHOWN, 7, 8, 9]) == len(SHOWN)


def test_it_is_no_request_in_any_count() -> None:
    bench = Bench()
    take_turn(bench, 1, CHAT)
    before = bench.scheduler.snapshot()
    submit_ahead(bench, SHOWN)
    bench.step()

    during = bench.scheduler.snapshot()

    assert during.running == 0
    assert during.prompt_tokens_total == before.prompt_tokens_total
    assert during.cached_tokens_total == before.cached_tokens_total
    assert bench.scheduler.waits(bench.now_ns) == {}


def test_stopped_it_leaves_what_it_has_computed() -> None:
    bench = Bench(batch_tokens=64)
    submit_ahead(bench, SHOWN)
    bench.step()
    bench.step()

    bench.scheduler.stop(-1)

    assert not bench.scheduler.snapshot().running
    assert take_turn(bench, 2, [*SHOWN, 7, 8, 9]) > 0


def test_stopped_before_it_has_a_place_it_leaves_nothing_and_stopped_twice_it_is_no_trouble() -> (
    None
):
    bench = Bench()
    submit_ahead(bench, SHOWN)

    bench.scheduler.stop(-1)
    bench.scheduler.stop(-1)

    assert not bench.scheduler.has_work
    assert take_turn(bench, 2, [*SHOWN, 7, 8, 9]) == 0


def test_its_app_is_not_charged() -> None:
    """Its app's next request has its turn as if nothing had been computed."""
    bench = Bench(max_seqs=2)
    bench.arrive(1, 20, 300, app="other", lane="background")
    submit_ahead(bench, SHOWN)
    while -1 not in bench.ended:
        bench.step()
    bench.arrive(2, 50, 2, app="editor", lane="background")
    bench.arrive(3, 50, 2, app="third", lane="background")

    while not {2, 3} <= bench.ended.keys():
        bench.step()

    assert list(bench.ended) == [-1, 2, 3]


def test_it_is_forgotten_with_its_session() -> None:
    bench = Bench()
    submit_ahead(bench, SHOWN, session="s")
    bench.step()

    bench.scheduler.forget(ForgetScope(session="s"))

    while -1 not in bench.ended:
        bench.step()
    assert bench.scheduler.snapshot().cells_retained == 0
