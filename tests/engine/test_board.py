"""The device board: what one engine shows and another sees."""

from umad.engine.board.page import (
    BOARD_BYTES,
    LATE_NS,
    LONGEST_NS,
    SEATS,
    STALE_NS,
    WORDS_PER_SEAT,
    others_are_interactive,
    take_seat,
    words_of,
)
from umad.engine.board.seat import BoardSeat
from umad.scheduler.steps.neighbours import NOBODY

NOW = 10**12


def seated(n: int) -> tuple[BoardSeat, ...]:
    words = words_of(bytearray(BOARD_BYTES))
    for seat in range(n):
        take_seat(words, seat)
    return tuple(BoardSeat(words, seat) for seat in range(n))


def test_an_engine_alone_has_no_neighbours() -> None:
    (alone,) = seated(1)
    alone.standing(3, NOW)
    alone.stepped(1000, NOW, background=False)

    assert alone.others(NOW) is NOBODY
    assert not alone.has_neighbours


def test_bytes_of_the_others_are_told_once() -> None:
    one, two, three = seated(3)
    one.others(NOW)

    two.stepped(100, NOW, background=True)
    two.stepped(20, NOW, background=False)
    three.stepped(3, NOW, background=True)
    one.stepped(7777, NOW, background=True)

    seen = one.others(NOW)
    assert (seen.background_bytes, seen.interactive_bytes) == (103, 20)
    assert one.others(NOW).background_bytes == 0


def test_background_work_that_waits_shows_until_it_is_overdue() -> None:
    one, two = seated(2)

    two.waits(NOW + 100)

    assert [one.others(at).waiting for at in (NOW, NOW + 200, NOW + 100 + LATE_NS)] == [
        True,
        True,
        False,
    ]
    assert not two.others(NOW).waiting, "of the others"


def test_interactive_work_shows_from_its_arrival_to_its_end() -> None:
    one, two = seated(2)
    shown = [one.others(NOW).interactive]

    two.arrived(NOW + 1)
    shown.append(one.others(NOW + 1).interactive)
    two.standing(1, NOW + 2)
    two.stepped(5, NOW + 3, background=False)
    shown.append(one.others(NOW + 3).interactive)
    two.standing(0, NOW + 4)
    shown.append(one.others(NOW + 4).interactive)

    assert shown == [False, True, True, False]


def test_an_arrival_that_was_refused_shows_no_longer_than_it_takes_to_age() -> None:
    one, two = seated(2)

    two.arrived(NOW)

    assert one.others(NOW + STALE_NS - 1).interactive
    assert not one.others(NOW + STALE_NS).interactive


def test_what_a_dead_engine_left_ages() -> None:
    one, two = seated(2)
    two.arrived(NOW)
    two.standing(2, NOW + 1)

    assert one.others(NOW + 2).interactive
    assert not one.others(NOW + 2 + STALE_NS).interactive


def test_an_engine_that_is_started_again_owes_nothing_for_the_one_before() -> None:
    words = words_of(bytearray(BOARD_BYTES))
    take_seat(words, 0)
    take_seat(words, 1)
    one = BoardSeat(words, 0)
    BoardSeat(words, 1).stepped(10**9, NOW, background=True)
    one.others(NOW)

    take_seat(words, 1)
    BoardSeat(words, 1).stepped(100, NOW, background=True)
    restarted = one.others(NOW).background_bytes
    BoardSeat(words, 1).stepped(100, NOW, background=True)

    assert restarted == 0
    assert one.others(NOW).background_bytes == 100


def test_the_highest_rate_that_anybody_holds_for_possible_is_seen() -> None:
    one, two, three = seated(3)

    two.stepped(1, NOW, background=True, bytes_per_s=5e9)
    three.stepped(1, NOW, background=True, bytes_per_s=7e9)

    assert one.others(NOW).bytes_per_s == 7_000_000_000


def test_only_what_arrived_after_the_last_look_may_cut_a_step() -> None:
    one, two = seated(2)
    two.arrived(NOW)
    one.others(NOW + 1)

    before = one.arrived_elsewhere()
    two.arrived(NOW + 2)

    assert not before
    assert one.arrived_elsewhere()
    assert not two.arrived_elsewhere()


def test_seats_share_no_cache_line_and_fill_the_page() -> None:
    assert WORDS_PER_SEAT * 8 % 64 == 0
    assert BOARD_BYTES == (SEATS + 1) * WORDS_PER_SEAT * 8


def test_an_engine_is_crowded_while_another_computes() -> None:
    one, two = seated(2)
    one.others(NOW)

    before = one.is_crowded(NOW)
    two.computes(NOW)
    meanwhile = one.is_crowded(NOW + 1)
    two.computes(0)

    assert (before, meanwhile, one.is_crowded(NOW + 2)) == (False, True, False)
    assert not two.is_crowded(NOW)


def test_a_step_that_began_and_ended_elsewhere_meanwhile_is_seen() -> None:
    one, two = seated(2)
    one.others(NOW)

    two.stepped(1000, NOW + 1, background=True)

    assert one.is_crowded(NOW + 2)
    one.others(NOW + 3)
    assert not one.is_crowded(NOW + 4)


def test_a_step_is_crowded_by_one_that_ends_before_it_or_begins_in_it() -> None:
    one, two = seated(2)
    one.others(NOW)

    two.begins(NOW)
    one.begins(NOW + 1)
    two.ends(NOW + 2)

    assert one.ends(NOW + 3)
    assert not two.is_crowded(NOW + 4)


def test_an_engine_that_died_in_a_step_crowds_nobody_for_long() -> None:
    one, two = seated(2)
    one.others(NOW)
    two.computes(NOW)

    assert one.is_crowded(NOW + LONGEST_NS - 1)
    assert not one.is_crowded(NOW + LONGEST_NS)


def test_before_it_has_a_seat_an_engine_sees_that_another_is_interactive() -> None:
    words = words_of(bytearray(BOARD_BYTES))
    for seat in range(3):
        take_seat(words, seat)
    BoardSeat(words, 2).standing(1, NOW)

    assert others_are_interactive(words, 0, NOW + 1)
    assert not others_are_interactive(words, 2, NOW + 1)
    assert not others_are_interactive(words, 0, NOW + STALE_NS)
