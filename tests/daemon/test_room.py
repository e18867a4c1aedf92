"""Which models leave for one that is asked for, in which order, and when."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from umad.daemon.room import (
    Decision,
    Limits,
    Need,
    Resident,
    Stand,
    Wish,
    Work,
    decide,
    in_line,
    least_stay_ns,
)
from umad.units import NS_PER_S

GB = 10**9
# Everybody was loaded long ago.
NOW_NS = 1_000 * NS_PER_S
NO_NEED = Need(good_bytes=0, least_bytes=0)


def wish(
    name: str = "new",
    *,
    work: Work = Work.INTERACTIVE,
    waited_s: float = 0.0,
    good_gb: float = 0.0,
    least_gb: float = 0.0,
) -> Wish:
    need = Need(good_bytes=int(good_gb * GB), least_bytes=int(least_gb * GB))
    since_ns = NOW_NS - int(waited_s * NS_PER_S)
    return Wish(name=name, need=need, work=work, since_ns=since_ns)


def resident(name: str, *, used_s: float = 0.0, gb: float = 0.0, **how: object) -> Resident:
    return replace(
        Resident(name=name, n_bytes=int(gb * GB), used_ns=int(used_s * NS_PER_S)),
        **how,  # type: ignore[arg-type]
    )


def busy(name: str, work: Work = Work.INTERACTIVE, **how: object) -> Resident:
    return resident(name, work=work, **how)  # type: ignore[arg-type]


TWO = Limits(max_models=2)


def test_a_model_starts_where_there_is_room() -> None:
    assert decide(wish(), [resident("a")], TWO, NOW_NS) == Decision(starts=True)


def test_the_model_used_longest_ago_leaves() -> None:
    residents = [resident("a", used_s=30), resident("b", used_s=20)]

    assert decide(wish(), residents, TWO, NOW_NS).leave == ("b",)


def test_an_idle_model_leaves_before_one_at_work_whenever_it_was_used() -> None:
    residents = [busy("a", Work.BACKGROUND), resident("b", used_s=999)]

    assert decide(wish(waited_s=30), residents, TWO, NOW_NS).leave == ("b",)


def test_background_work_gives_way_before_interactive_work() -> None:
    residents = [busy("a", Work.INTERACTIVE), busy("b", Work.BACKGROUND, ready_ns=NS_PER_S)]

    assert decide(wish(waited_s=30), residents, TWO, NOW_NS).leave == ("b",)


@pytest.mark.parametrize(
    ("asks", "works", "waits_s"),
    [
        (Work.INTERACTIVE, Work.BACKGROUND, 2),
        (Work.INTERACTIVE, Work.INTERACTIVE, 10),
        (Work.BACKGROUND, Work.BACKGROUND, 20),
        (Work.BACKGROUND, Work.INTERACTIVE, 60),
    ],
)
def test_a_model_at_work_yields_after_a_time_and_not_before(
    asks: Work, works: Work, waits_s: float
) -> None:
    residents = [busy("a", works), busy("b", works, ready_ns=NS_PER_S)]
    early = wish(work=asks, waited_s=waits_s - 0.5)
    late = wish(work=asks, waited_s=waits_s)

    before = decide(early, residents, TWO, NOW_NS)

    assert before.leave == ()
    assert before.why == "a is at work"
    assert before.again_ns == early.since_ns + waits_s * NS_PER_S
    assert decide(late, residents, TWO, NOW_NS).leave == ("a",)


def test_a_model_stays_for_twice_as_long_as_its_load_took() -> None:
    loaded = resident("a", ready_ns=NOW_NS - 7 * NS_PER_S, load_ns=4 * NS_PER_S)
    pinned = resident("b", is_pinned=True)

    soon = decide(wish(waited_s=100), [loaded, pinned], TWO, NOW_NS)

    assert (soon.leave, soon.why) == ((), "a was loaded just now")
    assert soon.again_ns == NOW_NS + NS_PER_S
    assert decide(wish(), [loaded, pinned], TWO, soon.again_ns).leave == ("a",)


def test_no_stay_is_without_bounds() -> None:
    assert least_stay_ns(0) == 2 * NS_PER_S
    assert least_stay_ns(600 * NS_PER_S) == 60 * NS_PER_S


def test_nobody_leaves_for_a_wish_while_somebody_is_leaving_for_it() -> None:
    for stand in (Stand.YIELDING, Stand.LEAVING):
        residents = [resident("a"), resident("b", stand=stand)]

        decision = decide(wish(waited_s=100), residents, TWO, NOW_NS)

        assert decision == Decision(why="b ends first")


def test_nobody_leaves_for_a_model_that_nobody_waits_for() -> None:
    asked = wish(work=Work.NONE, waited_s=1_000)

    assert decide(asked, [resident("a")], TWO, NOW_NS).starts
    refused = decide(asked, [resident("a"), resident("b")], TWO, NOW_NS)
    assert refused.never
    assert refused.why == "a and b have the room, and nobody asks for it yet"
    going = [resident("a"), resident("b", stand=Stand.LEAVING)]
    assert decide(asked, going, TWO, NOW_NS) == Decision(why="b ends first")


def test_pinned_models_never_leave_and_the_refusal_names_them() -> None:
    residents = [resident("a", is_pinned=True), resident("b", is_pinned=True)]

    decision = decide(wish(), residents, TWO, NOW_NS)

    assert decision.never
    assert decision.why.startswith("max_models is 2, and a and b are pinned (keep_alive -1)")


def test_a_model_that_starts_is_waited_for() -> None:
    residents = [resident("a", stand=Stand.STARTING), resident("b", is_pinned=True)]

    assert decide(wish(waited_s=100), residents, TWO, NOW_NS) == Decision(why="a is being loaded")


def test_models_whose_pools_fill_memory_are_loaded_one_after_the_other() -> None:
    residents = [resident("a", stand=Stand.STARTING)]

    assert not decide(wish(), residents, Limits(loads_in_turn=True), NOW_NS).starts
    assert decide(wish(), residents, Limits(), NOW_NS).starts


class TestMemory:
    LIMITS = Limits(memory_bytes=16 * GB)

    def test_as_many_leave_as_it_takes_and_no_more(self) -> None:
        residents = [
            resident("small", used_s=1, gb=1),
            resident("large", used_s=2, gb=6),
            resident("late", used_s=3, gb=6),
        ]

        decision = decide(wish(good_gb=8, least_gb=7), residents, self.LIMITS, NOW_NS)

        # The small one was used longest ago, but without the large one it makes no room.
        assert decision.leave == ("large",)

    def test_a_model_that_fits_with_a_small_context_only_gets_room_for_that(self) -> None:
        residents = [resident("pinned", gb=8, is_pinned=True), resident("idle", gb=4)]

        decision = decide(wish(good_gb=12, least_gb=7), residents, self.LIMITS, NOW_NS)

        assert decision.leave == ("idle",)

    def test_nobody_leaves_for_a_model_that_would_not_fit_even_then(self) -> None:
        """Its load is refused by the engine, with the figures."""
        decision = decide(
            wish(good_gb=40, least_gb=30), [resident("idle", gb=4)], self.LIMITS, NOW_NS
        )

        assert decision == Decision(starts=True)


def test_interactive_wishes_go_first_and_old_ones_count_as_such() -> None:
    wishes = [
        wish("young job", work=Work.BACKGROUND, waited_s=50),
        wish("chat", waited_s=1),
        wish("old job", work=Work.BACKGROUND, waited_s=61),
    ]

    assert [one.name for one in in_line(wishes, NOW_NS)] == ["old job", "chat", "young job"]


RESIDENTS = st.builds(
    Resident,
    name=st.sampled_from("abcdef"),
    n_bytes=st.integers(0, 8 * GB),
    stand=st.sampled_from(Stand),
    work=st.sampled_from(Work),
    is_pinned=st.booleans(),
    ready_ns=st.integers(0, NOW_NS),
    load_ns=st.integers(0, 100 * NS_PER_S),
    used_ns=st.integers(0, NOW_NS),
)
MODELS = st.lists(RESIDENTS, max_size=6, unique_by=lambda one: one.name)
NEEDS = st.builds(
    lambda least, more: Need(good_bytes=least + more, least_bytes=least),
    st.integers(0, 20 * GB),
    st.integers(0, 8 * GB),
)
LIMITS = st.builds(
    Limits,
    max_models=st.none() | st.integers(1, 6),
    memory_bytes=st.none() | st.integers(GB, 32 * GB),
    loads_in_turn=st.booleans(),
)
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WORKS = st.sampled_from((Work.BACKGROUND, Work.INTERACTIVE))


@SETTINGS
@given(models=MODELS, need=NEEDS, limits=LIMITS, work=WORKS, waited_s=st.integers(0, 900))
def test_only_those_that_may_leave_are_told_to_and_none_in_vain(
    models: list[Resident], need: Need, limits: Limits, work: Work, waited_s: int
) -> None:
    asked = Wish(name="new", need=need, work=work, since_ns=NOW_NS - waited_s * NS_PER_S)

    decision = decide(asked, models, limits, NOW_NS)

    by_name = {one.name: one for one in models}
    leave = [by_name[name] for name in decision.leave]
    assert all(one.stand is Stand.SETTLED and not one.is_pinned for one in leave)
    assert not (decision.starts and (leave or decision.never))
    assert decision.starts or decision.why
    if decision.again_ns is not None:
        assert decision.again_ns > NOW_NS
    if decision.starts and limits.max_models is not None:
        assert len(models) < limits.max_models
    gone = [replace(one, stand=Stand.LEAVING) if one in leave else one for one in models]
    for one in leave:
        # Were it to stay, something would be missing.
        others = [other for other in gone if other.stand not in (Stand.LEAVING, Stand.YIELDING)]
        assert not decide(asked, [*others, one], replace(limits, loads_in_turn=False), 0).starts


@SETTINGS
@given(models=MODELS, need=NEEDS, limits=LIMITS, work=WORKS)
def test_every_wish_is_granted_or_refused_in_the_end_however_busy_the_others_are(
    models: list[Resident], need: Need, limits: Limits, work: Work
) -> None:
    asked = Wish(name="new", need=need, work=work, since_ns=NOW_NS)
    now_ns, standing = NOW_NS, models
    for _ in range(3 * len(models) + 3):
        decision = decide(asked, standing, limits, now_ns)
        if decision.starts or decision.never:
            return
        # What is told to leave is gone by the next look, and what loads is loaded.
        now_ns = decision.again_ns or now_ns + NS_PER_S
        standing = [
            replace(one, stand=Stand.SETTLED) if one.stand is Stand.STARTING else one
            for one in standing
            if one.name not in decision.leave and one.stand not in (Stand.LEAVING, Stand.YIELDING)
        ]
    raise AssertionError(f"still waits: {decision}")
