"""What umad gives up when memory runs short, in which order, and how slowly it takes it back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.memory_pressure import (
    MOST_PATIENCE_NS,
    NEXT,
    PARK_SHARE,
    PATIENCE_NS,
    SETTLE_NS,
    MemoryLadder,
    MemoryReading,
    MemoryRoom,
    Move,
    Stage,
    Standing,
    Strain,
    SystemLevel,
    stepped,
    strain_of,
)
from umad.units import NS_PER_S

GIB = 2**30
HALF_S = NS_PER_S // 2
STAGES = list(Stage)


def room(
    headroom_gib: float, limit_gib: float = 16, *, some: float | None = 0.0, full: float = 0.0
) -> MemoryRoom:
    return MemoryRoom(
        name="machine",
        limit_bytes=int(limit_gib * GIB),
        headroom_bytes=int(headroom_gib * GIB),
        some_pct=some,
        full_pct=full,
    )


def reading(*rooms: MemoryRoom, level: SystemLevel | None = None) -> MemoryReading:
    return MemoryReading(rooms=rooms, level=level)


# -- how short memory is ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "strain"),
    [
        (room(8), Strain.EASY),
        (room(1.6), Strain.FAIR),
        (room(1.2), Strain.TIGHT),
        (room(0.5), Strain.SEVERE),
        (room(0), Strain.SEVERE),
        (room(8, some=12.0), Strain.TIGHT),
        (room(8, some=3.0), Strain.FAIR),
        (room(1.6, some=40.0, full=20.0), Strain.SEVERE),
        # Somebody stands still at a limit of its own.
        (room(8, some=40.0, full=20.0), Strain.TIGHT),
        (room(8, some=None), Strain.EASY),
    ],
)
def test_strain_follows_the_headroom_and_the_stalls(found: MemoryRoom, strain: Strain) -> None:
    assert strain_of(reading(found)) is strain


def test_a_large_machine_is_not_short_with_ten_gigabytes_left() -> None:
    assert strain_of(reading(room(10, 512))) is Strain.EASY


def test_the_shortest_room_counts() -> None:
    machine, group = room(20, 64), room(0.1, 4)

    found = reading(machine, group)

    assert strain_of(found) is Strain.SEVERE
    assert found.shortest is group


@pytest.mark.parametrize(
    ("level", "strain"),
    [
        (SystemLevel.NORMAL, Strain.EASY),
        (SystemLevel.WARN, Strain.TIGHT),
        (SystemLevel.CRITICAL, Strain.SEVERE),
    ],
)
def test_macos_says_it_itself(level: SystemLevel, strain: Strain) -> None:
    assert strain_of(reading(level=level)) is strain


def test_a_reading_that_says_nothing_changes_nothing() -> None:
    assert strain_of(reading()) is Strain.FAIR


# -- the ladder ------------------------------------------------------------------------------------


class Machine:
    """A ladder and a clock, read twice a second."""

    def __init__(self) -> None:
        self.ladder = MemoryLadder()
        self.now_ns = 1_000 * NS_PER_S
        # (stage, seconds) of every change.
        self.changes: list[tuple[Stage, float]] = []

    def feels(self, strain: Strain, seconds: float) -> Stage:
        began_ns = self.now_ns
        while self.now_ns - began_ns < seconds * NS_PER_S:
            standing = self.ladder.step(strain, self.now_ns)
            if standing.moved is not None:
                self.changes.append((standing.stage, (self.now_ns - began_ns) / NS_PER_S))
            self.now_ns += HALF_S
        return self.ladder.standing.stage


def test_prefixes_go_first_then_parking_then_models() -> None:
    machine = Machine()

    machine.feels(Strain.TIGHT, 5)

    assert machine.changes == [(Stage.PREFIXES, 0.0), (Stage.PARKING, 2.0), (Stage.MODELS, 4.0)]


def test_severe_shortage_does_not_wait_between_stages() -> None:
    machine = Machine()

    machine.feels(Strain.SEVERE, 1.5)

    assert machine.changes == [(Stage.PREFIXES, 0.0), (Stage.PARKING, 0.5), (Stage.MODELS, 1.0)]


def test_one_more_model_is_given_up_every_two_seconds_while_it_stays_tight() -> None:
    machine = Machine()
    machine.feels(Strain.SEVERE, 1.5)
    machine.changes.clear()

    machine.feels(Strain.TIGHT, 6)

    assert [stage for stage, _ in machine.changes] == [Stage.MODELS] * 3


def test_a_stage_that_helped_is_the_last_one() -> None:
    machine = Machine()
    machine.feels(Strain.TIGHT, 0.5)

    assert machine.feels(Strain.FAIR, 600) is Stage.PREFIXES
    assert len(machine.changes) == 1


def test_it_comes_back_a_stage_at_a_time_after_half_a_minute_of_ease() -> None:
    machine = Machine()
    machine.feels(Strain.SEVERE, 1.5)
    machine.changes.clear()

    assert machine.feels(Strain.EASY, 100) is Stage.NOTHING
    assert machine.changes == [(Stage.PARKING, 30.0), (Stage.PREFIXES, 60.0), (Stage.NOTHING, 90.0)]


def test_a_moment_that_is_not_easy_begins_the_wait_anew() -> None:
    machine = Machine()
    machine.feels(Strain.TIGHT, 0.5)

    machine.feels(Strain.EASY, 29)
    machine.feels(Strain.FAIR, 0.5)

    assert machine.feels(Strain.EASY, 29) is Stage.PREFIXES
    assert machine.feels(Strain.EASY, 2) is Stage.NOTHING


def test_a_shortage_that_comes_back_doubles_the_patience_up_to_a_bound() -> None:
    machine = Machine()
    waits: list[float] = []

    for _ in range(8):
        machine.feels(Strain.TIGHT, 0.5)
        machine.changes.clear()
        while machine.ladder.standing.stage is not Stage.NOTHING:
            machine.feels(Strain.EASY, 1)
            waits += [0.0] if not waits else []
            waits[-1] += 1
        waits.append(0.0)

    assert waits[:4] == [31.0, 61.0, 121.0, 241.0]
    assert max(waits) <= MOST_PATIENCE_NS / NS_PER_S + 1


def test_patience_is_forgotten_after_five_minutes_of_ease() -> None:
    machine = Machine()
    for _ in range(3):
        machine.feels(Strain.TIGHT, 0.5)
        machine.feels(Strain.EASY, 125)
    assert machine.ladder.standing.patience_ns > PATIENCE_NS

    machine.feels(Strain.EASY, 301)

    assert machine.ladder.standing.patience_ns == PATIENCE_NS


# -- for every course of the strain ----------------------------------------------------------------

COURSES = st.lists(
    st.tuples(st.sampled_from(list(Strain)), st.integers(0, 200 * NS_PER_S)), max_size=60
)


def walk(course: list[tuple[Strain, int]]) -> list[tuple[Strain, int, Standing, Standing]]:
    """(strain, time, standing before, standing after) of every reading."""
    standing, now_ns, steps = Standing(), 0, []
    for strain, later_ns in course:
        now_ns += later_ns
        after = stepped(standing, strain, now_ns)
        steps.append((strain, now_ns, standing, after))
        standing = after
    return steps


@given(COURSES)
def test_every_move_is_one_row_of_the_table_and_nothing_else_changes_the_stage(
    course: list[tuple[Strain, int]],
) -> None:
    for _, now_ns, before, after in walk(course):
        if after.moved is None:
            assert after.stage is before.stage
            assert after.moved_ns == before.moved_ns
        else:
            assert after.stage is NEXT[before.stage, after.moved]
            assert after.moved_ns == now_ns


@given(COURSES)
def test_only_shortage_gives_up_and_only_ease_takes_back(course: list[tuple[Strain, int]]) -> None:
    for strain, _, _, after in walk(course):
        if after.moved is Move.GIVE_UP:
            assert strain in (Strain.TIGHT, Strain.SEVERE)
        if after.moved is Move.TAKE_BACK:
            assert strain is Strain.EASY


@given(COURSES)
def test_between_two_changes_of_mind_lies_the_patience(course: list[tuple[Strain, int]]) -> None:
    for _, now_ns, before, after in walk(course):
        if after.moved is Move.TAKE_BACK:
            assert before.moved_ns is not None
            assert now_ns - before.moved_ns >= before.patience_ns >= PATIENCE_NS
        assert after.patience_ns <= MOST_PATIENCE_NS


@given(COURSES)
def test_tight_memory_settles_between_stages(course: list[tuple[Strain, int]]) -> None:
    for strain, now_ns, before, after in walk(course):
        if after.moved is Move.GIVE_UP and strain is Strain.TIGHT:
            assert before.stage is Stage.NOTHING or now_ns - (before.moved_ns or 0) >= SETTLE_NS


@given(COURSES)
def test_enough_shortage_reaches_the_last_stage_and_enough_ease_the_first(
    course: list[tuple[Strain, int]],
) -> None:
    steps = walk(course)
    standing = steps[-1][3] if steps else Standing()
    now_ns = steps[-1][1] if steps else 0

    short = standing
    for n in range(len(Stage)):
        short = stepped(short, Strain.SEVERE, now_ns + n)
    assert short.stage is Stage.MODELS

    for n in range(2 * len(Stage)):
        short = stepped(short, Strain.EASY, now_ns + (n + 1) * MOST_PATIENCE_NS)
    assert short.stage is Stage.NOTHING


def test_each_stage_leaves_engines_no_more_than_the_one_before() -> None:
    shares = [PARK_SHARE[stage] for stage in STAGES]

    assert shares == sorted(shares, reverse=True)
    assert [stage.number for stage in STAGES] == [0, 1, 2, 3]
