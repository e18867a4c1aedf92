"""What is found, what it is worth, and what goes when host memory is full."""

import numpy as np
import pytest
from numpy.typing import NDArray

from umad.forgetting import ForgetScope
from umad.scheduler.costs.copy_cost import CopyCost
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.memory.checkpoints import Checkpoint, Checkpoints
from umad.scheduler.memory.park_budget import ParkBudget
from umad.scheduler.memory.parked_store import ParkedStore, ParkShape
from umad.scheduler.memory.state_saving import LATEST_MARKS, spacing_of, stops_of
from umad.scheduler.scheduled_request import ScheduledRequest, Submission

SHAPE = ParkShape(capacity_bytes=300, slice_cells=32, slab_bytes=100, state_bytes=100)


def tokens(which: int, n: int) -> NDArray[np.int32]:
    return np.random.default_rng(which).integers(0, 1000, n).astype(np.int32)


class Memory:
    """Host memory for three things of 100 bytes; a token costs a millisecond."""

    def __init__(self) -> None:
        self.budget = ParkBudget(SHAPE.capacity_bytes)
        self.store = ParkedStore(SHAPE, self.budget)
        copying = CopyCost(CostModel(prefill_ms_per_token=1.0), cell_bytes=3.0, batch_tokens=256)
        self.checkpoints = Checkpoints(
            state_bytes=100, unit_bytes=100, budget=self.budget, copying=copying
        )

    def take(
        self,
        after: NDArray[np.int32],
        *,
        salt: str = "",
        owner: str = "",
        session: str | None = None,
        n_bytes: int = 100,
    ) -> Checkpoint:
        one = self.checkpoints.reserve(after, salt=salt, owner=owner, session=session)
        assert one is not None
        self.checkpoints.saved(one.key, n_bytes)
        return one

    def found(self, prompt: NDArray[np.int32], salt: str = "") -> list[int]:
        return [one.n_tokens for one in self.checkpoints.of(prompt, salt)]


def test_a_checkpoint_is_found_by_all_the_tokens_before_it() -> None:
    memory, prompt = Memory(), tokens(1, 100)
    memory.take(prompt[:40])
    memory.take(prompt[:70])
    other = prompt.copy()
    other[50] += 1

    assert memory.found(prompt) == [40, 70]
    assert memory.found(prompt[:69]) == [40]
    assert memory.found(other) == [40]
    assert memory.found(tokens(2, 100)) == []


def test_another_salt_finds_nothing() -> None:
    memory, prompt = Memory(), tokens(1, 100)
    memory.take(prompt[:40], salt="ours")

    assert memory.found(prompt, "ours") == [40]
    assert memory.found(prompt, "theirs") == []
    assert memory.found(prompt, "") == []


def test_one_that_is_being_made_is_not_found_and_not_made_twice() -> None:
    memory, prompt = Memory(), tokens(1, 100)
    one = memory.checkpoints.reserve(prompt[:40], salt="", owner="", session=None)
    assert one is not None

    assert memory.found(prompt) == []
    assert memory.checkpoints.has(prompt[:40], "")
    assert memory.checkpoints.reserve(prompt[:40], salt="", owner="", session=None) is None

    memory.checkpoints.lost(one.key)
    assert memory.checkpoints.reserve(prompt[:40], salt="", owner="", session=None) is not None


def test_what_it_takes_is_counted_once_it_is_known() -> None:
    memory = Memory()
    memory.take(tokens(1, 40), n_bytes=30)

    assert memory.budget.used_bytes == 30


def test_one_close_behind_another_goes_first() -> None:
    memory, prompt = Memory(), tokens(1, 500)
    for place in (200, 210, 400):
        memory.take(prompt[:place])

    memory.take(tokens(2, 300))

    assert memory.found(prompt) == [200, 400]


def test_one_whose_neighbour_went_is_worth_the_tokens_of_both() -> None:
    memory, prompt = Memory(), tokens(1, 500)
    first, second = memory.take(prompt[:100]), memory.take(prompt[:300])
    assert (first.gap_ms, second.gap_ms) == pytest.approx((100.0, 200.0))

    memory.checkpoints.drop(first.key)

    assert second.gap_ms == pytest.approx(300.0)
    assert second.before is None


def test_cells_and_states_share_one_budget() -> None:
    memory = Memory()
    key = memory.store.reserve(tokens(9, 32), session=None, rebuild_ms=20.0, protected=frozenset())
    assert key is not None
    memory.store.advance(key, 32)
    for which in (1, 2, 3):
        memory.take(tokens(which, 300))

    assert key not in memory.store
    assert memory.store.take_dropped() == (key,)
    assert memory.budget.used_bytes == 300


def test_what_a_session_needs_goes_after_all_else_and_what_is_put_back_never() -> None:
    memory = Memory()
    chat = memory.take(tokens(1, 20), session="chat")
    busy = memory.take(tokens(2, 20))
    memory.checkpoints.pin(busy.key)
    other = memory.take(tokens(3, 400))

    memory.take(tokens(4, 400))
    assert (chat.key in memory.checkpoints, other.key in memory.checkpoints) == (True, False)

    memory.take(tokens(5, 400))
    memory.take(tokens(6, 400))
    assert busy.key in memory.checkpoints


def test_there_is_no_room_beside_what_is_in_use() -> None:
    memory = Memory()
    for which in (1, 2, 3):
        memory.checkpoints.pin(memory.take(tokens(which, 50)).key)

    assert memory.checkpoints.reserve(tokens(4, 50), salt="", owner="", session=None) is None


def test_what_is_forgotten_while_it_is_in_use_goes_when_it_is_not() -> None:
    memory, prompt = Memory(), tokens(1, 100)
    one = memory.take(prompt[:40], session="chat")
    memory.checkpoints.pin(one.key)

    assert memory.checkpoints.forget(ForgetScope(session="chat")) == {"chat"}
    assert memory.found(prompt) == []
    assert not memory.checkpoints.has_dropped

    memory.checkpoints.unpin(one.key)
    assert memory.checkpoints.take_dropped() == (one.key,)
    assert memory.budget.used_bytes == 0


def test_one_that_is_forgotten_while_it_is_made_is_dropped_once_it_is() -> None:
    memory = Memory()
    one = memory.checkpoints.reserve(tokens(1, 40), salt="", owner="me", session=None)
    assert one is not None

    memory.checkpoints.forget(ForgetScope(owner="me"))
    memory.checkpoints.saved(one.key, 100)

    assert memory.checkpoints.take_dropped() == (one.key,)
    assert len(memory.checkpoints) == 0


def request(n_prompt: int, *marks: int) -> ScheduledRequest:
    return ScheduledRequest.of(
        Submission(
            rid=1,
            tokens=tokens(1, n_prompt),
            n_prompt=n_prompt,
            max_new_tokens=4,
            lane="interactive",
            app="chat",
            marks=marks,
        ),
        0,
    )


def test_of_many_turns_the_first_and_the_last_have_checkpoints_and_others_far_apart() -> None:
    turns = tuple(range(50, 2000, 50))

    places = stops_of(request(2000, *turns), start=0, leaves_at=0, spacing=512)

    assert set(places) >= {50, *turns[-LATEST_MARKS:]}
    middle = [place for place in places if 50 < place < turns[-LATEST_MARKS]]
    assert len(middle) <= 4


def test_a_prompt_without_turns_has_one_before_its_last_token_and_some_on_the_way() -> None:
    places = stops_of(request(2000), start=0, leaves_at=0, spacing=512)

    assert places == (512, 1024, 1536, 1999)


def test_only_what_is_still_to_be_computed_has_places() -> None:
    places = stops_of(request(2000, 300, 1900), start=1000, leaves_at=1200, spacing=512)

    assert places == (1000, 1200, 1536, 1900)


@pytest.mark.parametrize(
    ("state_bytes", "has_cells", "spacing"),
    [(100, True, 512), (10_000, True, 3200), (10**9, True, 8192), (100, False, 2048)],
)
def test_checkpoints_are_as_far_apart_as_takes_as_much_memory_as_the_cells_between(
    state_bytes: int, has_cells: bool, spacing: int
) -> None:
    shape = ParkShape(
        capacity_bytes=1 << 30,
        slice_cells=32,
        slab_bytes=100,
        state_bytes=state_bytes,
        has_cells=has_cells,
    )

    assert spacing_of(shape) == spacing
