"""Guesses of next tokens: what is guessed, how many guesses a step verifies, and when none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.scheduler.speculation.acceptance import STREAM_RATE, Acceptance, AppAcceptances
from umad.scheduler.speculation.choice import LEAST_PACE, LONG_MS, chosen, weighed
from umad.scheduler.speculation.gain import (
    FIRST_REST,
    MOST_LOST,
    MOST_SAVED,
    PLAIN_EVERY,
    MeasuredGain,
)
from umad.scheduler.speculation.grams import GRAM
from umad.scheduler.speculation.lookup import (
    COPY,
    INDEXED_AT_ONCE,
    PATIENCE,
    RESUMED,
    PromptLookup,
)
from umad.scheduler.speculation.price_trial import TRIALS, PriceTrial

# -- what is guessed --------------------------------------------------------------------------


def looked_up(tokens: list[int], n_prompt: int, room: int = 0) -> PromptLookup:
    """A look-up that has taken `tokens` in: the prompt as a piece, the others one by one."""
    text = np.zeros(len(tokens) + room, np.int32)
    text[: len(tokens)] = tokens
    lookup = PromptLookup(text)
    while lookup.n_tokens < n_prompt:
        lookup.take_piece(n_prompt)
    for _ in range(len(tokens) - n_prompt):
        lookup.take()
    return lookup


def test_what_followed_the_same_words_before_is_guessed() -> None:
    lookup = looked_up([5, 6, 7, 8, 9, 1, 2, 5, 6, 7], n_prompt=10)

    assert lookup.guess(3) == (8, 9, 1)


def test_words_that_never_stood_there_before_have_no_guess() -> None:
    lookup = looked_up([5, 6, 7, 8, 9, 1, 2, 3, 4], n_prompt=9)

    assert lookup.guess(3) == ()
    assert lookup.run == 0


def test_the_latest_of_several_places_is_the_source() -> None:
    lookup = looked_up([1, 2, 3, 40, 1, 2, 3, 50, 1, 2, 3], n_prompt=11)

    assert lookup.guess(1) == (50,)


def test_a_copy_goes_on_at_its_place_though_the_same_words_stood_elsewhere_later() -> None:
    first, later = [1, 2, 3, 4, 5, 6, 7, 8], [3, 4, 5, 99]
    lookup = looked_up([*first, *later, 1, 2, 3, 4, 5], n_prompt=15)

    assert lookup.guess(3) == (6, 7, 8)


def test_a_text_that_repeats_itself_goes_on_in_its_period() -> None:
    lookup = looked_up([1, 2, 1, 2, 1, 2], n_prompt=6)

    assert lookup.guess(5) == (1, 2, 1, 2, 1)


def test_a_long_prompt_is_taken_in_piece_by_piece() -> None:
    tokens = list(range(10, INDEXED_AT_ONCE + 5000))
    lookup = PromptLookup(np.array([*tokens, *tokens[:20]], np.int32))
    n = len(tokens) + 20

    lookup.take_piece(n)
    assert lookup.guess(1) == (), "not all of it is known yet"
    lookup.take_piece(n)

    assert lookup.n_tokens == n
    assert lookup.guess(2) == tuple(tokens[20:22])


def test_a_piece_of_a_prompt_repeats_another_part_of_the_same_piece() -> None:
    assert looked_up([1, 2, 3, 4, 1, 2, 3], n_prompt=7).guess(1) == (4,)


@given(
    tokens=st.lists(st.integers(0, 3), min_size=1, max_size=80),
    cuts=st.lists(st.integers(0, 80), max_size=2),
)
def test_a_guess_is_always_what_followed_the_same_words(tokens: list[int], cuts: list[int]) -> None:
    lookup = looked_up(tokens, n_prompt=min([*cuts, len(tokens)]))

    (*guess,) = lookup.guess(1)

    places = [at for at in range(GRAM, len(tokens)) if tokens[at - GRAM : at] == tokens[-GRAM:]]
    if lookup.run == RESUMED:
        assert guess[0] in tokens
    elif guess and lookup.run != COPY:  # else a copy may have gone on behind a change
        assert guess[0] in {tokens[at] for at in places}
        assert lookup.run >= GRAM
    # A table of 256 places has collisions, so a place may have been forgotten.


FILE = list(range(100, 140))


@pytest.mark.parametrize(
    ("written", "guess"),
    [
        ((7,), (121, 122)),  # 120 was replaced
        ((7, 120), (121, 122)),  # a word was put in before it
        ((7, 8, 121), (122, 123)),  # two words instead of one
        ((123,), (124, 125)),  # three words were left out
    ],
    ids=["replaced", "put in", "longer", "left out"],
)
def test_a_copy_goes_on_behind_a_change(written: tuple[int, ...], guess: tuple[int, ...]) -> None:
    tokens = [*FILE, *FILE[:20], *written]

    lookup = looked_up(tokens, n_prompt=len(FILE), room=2)

    if written == (123,):  # nothing tells that yet but the next token
        lookup.text.tokens[len(tokens)] = 124
        lookup.take()
        guess = (125, 126)
    assert lookup.guess(2) == guess
    assert lookup.run == RESUMED


def test_a_copy_that_goes_on_is_trusted_as_one_at_once() -> None:
    lookup = looked_up([*FILE, *FILE[:20], 7, 121], n_prompt=len(FILE))

    assert lookup.run == COPY


def test_a_copy_that_does_not_go_on_is_given_up() -> None:
    other = list(range(500, 500 + PATIENCE + 1))

    assert looked_up([*FILE, *FILE[:20], *other], n_prompt=len(FILE)).guess(1) == ()


def test_a_short_agreement_that_breaks_was_no_copy() -> None:
    assert looked_up([*FILE, *FILE[: COPY - 1], 7], n_prompt=len(FILE)).guess(1) == ()


def test_a_resumed_answer_that_is_read_has_the_guess_of_one_that_was_written() -> None:
    tokens = [*range(20, 40), 7, *range(22, 30)]

    read, written = looked_up(tokens, n_prompt=29), looked_up(tokens, n_prompt=20)

    assert read.guess(4) == written.guess(4) == (30, 31, 32, 33)


# -- how likely it is to hold -----------------------------------------------------------------


def test_a_long_agreement_is_trusted_more_than_a_short_one() -> None:
    stream = Acceptance(STREAM_RATE)

    assert stream.survival(GRAM, 1) < stream.survival(30, 1)


def test_each_further_guess_is_less_likely_to_hold() -> None:
    chances = Acceptance(STREAM_RATE).survival(GRAM, 8)

    assert chances == sorted(chances, reverse=True)
    assert len(chances) == 8


def test_a_stream_learns_from_its_own_tokens() -> None:
    copying, inventing = Acceptance(STREAM_RATE), Acceptance(STREAM_RATE)
    for _ in range(40):
        copying.learn(GRAM, was_right=True)
        inventing.learn(GRAM, was_right=False)

    assert copying.survival(GRAM, 1)[0] > 0.8
    assert inventing.survival(GRAM, 1)[0] < 0.05


def test_a_new_stream_begins_with_what_its_app_is_known_for() -> None:
    apps = AppAcceptances()
    for _ in range(100):
        apps.of(("me", "editor")).learn(GRAM, was_right=True)

    editor = Acceptance(STREAM_RATE, like=apps.of(("me", "editor")))
    other = Acceptance(STREAM_RATE, like=apps.of(("you", "editor")))

    assert editor.survival(GRAM, 1)[0] > 0.7
    assert other.survival(GRAM, 1)[0] < 0.3, "another owner's app is another app"


@given(steps=st.lists(st.tuples(st.integers(0, 200), st.booleans()), max_size=200))
def test_a_chance_is_a_probability_whatever_was_learnt(steps: list[tuple[int, bool]]) -> None:
    stream = Acceptance(STREAM_RATE)
    for run, was_right in steps:
        stream.learn(run, was_right=was_right)

    assert all(0 <= chance <= 1 for run in (0, 3, 50) for chance in stream.survival(run, 16))


# -- how many are verified --------------------------------------------------------------------


def slow_rows(n: int) -> float:
    """One core: every row costs nearly a step."""
    return 10.0 + 8.0 * n


def free_rows(n: int) -> float:
    """A device that waits for memory: rows cost next to nothing."""
    return 10.0 + 0.05 * n


def test_dear_rows_are_not_spent_on_guesses() -> None:
    assert chosen([[0.7, 0.5, 0.3]], slow_rows, most=16, each=True) == [0]


def test_free_rows_are_spent_as_long_as_guesses_may_hold() -> None:
    assert chosen([[0.9, 0.8, 0.7, 0.6]], free_rows, most=16, each=True) == [4]


def test_the_guesses_behind_unlikely_ones_are_left_out() -> None:
    (n,) = chosen([[0.95, 0.9, 0.01, 0.001]], lambda n: 10.0 + 2.0 * n, most=16, each=True)

    assert n == 2


def test_a_long_step_is_never_several_times_as_long_as_a_plain_one() -> None:
    (n,) = chosen([[1.0] * 16], lambda n: 100.0 + 40.0 * n, most=16, each=True)

    assert n == 5


def test_a_short_step_may_be_several_times_as_long_as_a_plain_one() -> None:
    # 16 rows of a small model on a CPU take as long as five steps, and bring 16 tokens.
    (n,) = chosen([[1.0] * 31], lambda n: 20.0 + 6.0 * n, most=31, each=True)

    assert n == 30  # 200 ms


def test_a_step_that_an_arrival_cuts_may_be_longer() -> None:
    def dear(n: int) -> float:
        return 20.0 + 6.0 * n

    (n,), gain = weighed([[1.0] * 63], dear, most=63, each=True, longest_ms=LONG_MS)

    assert n == 63
    assert gain == pytest.approx(64 * dear(0) / dear(63))


def test_a_whole_tile_is_taken_though_half_of_it_takes_too_long() -> None:
    def tiled(n: int) -> float:
        return 670.0 if n == 63 else 30.0 + 15.0 * n

    (n,), _ = weighed([[0.99**i for i in range(1, 64)]], tiled, most=63, each=True, longest_ms=700)

    assert n == 63


def test_a_larger_number_is_tried_where_most_of_its_guesses_hold() -> None:
    trial, most_hold = PriceTrial(), [0.967**n for n in range(1, 32)]
    # What is known of 8 rows is taken to go on for more, so more seem not to pay.
    tried = [
        trial.counts([most_hold], lambda n: 10.0 + 3.0 * n, most=31, used=7) for _ in range(TRIALS)
    ]

    assert tried == [[11]] * TRIALS


def test_a_first_number_is_tried_only_where_nearly_all_guesses_hold() -> None:
    trial = PriceTrial()

    assert trial.counts([[0.8, 0.7]], lambda n: 10.0, most=31, used=0) == [0]
    assert trial.counts([[0.95, 0.9]], lambda n: 10.0, most=31, used=0) == [1]


def test_no_step_has_more_than_the_most() -> None:
    assert sum(chosen([[0.9] * 16, [0.9] * 16], free_rows, most=5, each=False)) == 5


def test_a_reader_without_guesses_does_not_pay_for_another_ones() -> None:
    def dear(n: int) -> float:
        return 10.0 + 1.0 * n

    copying, inventing = [0.95**n for n in range(1, 9)], list[float]()

    assert chosen([copying, inventing], dear, most=16, each=True) == [0, 0]
    assert sum(chosen([copying, inventing], dear, most=16, each=False)) > 0


survivals = st.lists(
    st.lists(st.floats(0, 1), max_size=6).map(lambda one: sorted(one, reverse=True)),
    min_size=1,
    max_size=5,
)


@given(
    chances=survivals,
    row_ms=st.floats(0, 20),
    plain_ms=st.floats(0.1, 100),
    most=st.integers(1, 16),
    each=st.booleans(),
)
def test_no_choice_is_expected_to_be_slower(
    chances: list[list[float]], row_ms: float, plain_ms: float, most: int, each: bool
) -> None:
    counts = chosen(chances, lambda n: plain_ms + row_ms * n, most=most, each=each)

    assert sum(counts) <= most
    longer = (plain_ms + row_ms * sum(counts)) / plain_ms
    expected = [1 + sum(own[:n]) for own, n in zip(chances, counts, strict=True)]
    if any(counts):
        assert sum(expected) / len(expected) > longer
        if each:
            assert min(expected) >= LEAST_PACE * longer * (1 - 1e-9)


# -- whether it pays --------------------------------------------------------------------------


def tried(gain: MeasuredGain, n_steps: int, *, n_tokens: int, felt_ms: float) -> int:
    """Run so many steps on a device where a plain one takes 10 ms; how many had guesses."""
    n_tried = 0
    for _ in range(n_steps):
        if gain.may_try():
            n_tried += 1
            gain.learn(
                n_streams=1, n_tokens=n_tokens, plain_ms=10.0, planned_ms=15.0, felt_ms=felt_ms
            )
    return n_tried


def test_guessing_that_does_not_pay_rests_soon_and_longer_each_time() -> None:
    gain = MeasuredGain()

    # Rests of one, two, four and eight times the first one.
    n_tried = tried(gain, 15 * FIRST_REST, n_tokens=1, felt_ms=15.0)

    assert 0.5 * n_tried <= 5 * (MOST_LOST + 1), "steps that were lost"
    assert n_tried > 0


def test_a_small_loss_is_found_out_too() -> None:
    gain = MeasuredGain()

    n_tried = tried(gain, 3000, n_tokens=1, felt_ms=10.2)

    assert 0.02 * n_tried <= 3 * (MOST_LOST + 1), "steps that were lost"


def test_guesses_that_fail_in_a_row_do_not_end_it() -> None:
    gain = MeasuredGain()
    for _ in range(50):
        tried(gain, 5, n_tokens=1, felt_ms=12.0)
        tried(gain, 5, n_tokens=3, felt_ms=12.0)

    assert not gain.is_resting


def test_guessing_that_pays_goes_on() -> None:
    gain = MeasuredGain()

    n_tried = tried(gain, 1000, n_tokens=3, felt_ms=15.0)

    assert n_tried > 900
    assert gain.ratio == pytest.approx(2.0)


def test_now_and_then_a_step_is_plain_so_that_its_price_stays_known() -> None:
    gain = MeasuredGain()

    assert tried(gain, 10 * PLAIN_EVERY, n_tokens=3, felt_ms=15.0) == 10 * (PLAIN_EVERY - 1)


def test_what_was_gained_pays_for_guesses_of_a_long_step_that_fail() -> None:
    gain = MeasuredGain()
    for _ in range(20):
        assert tried(gain, 3, n_tokens=16, felt_ms=50.0)
        tried(gain, 1, n_tokens=1, felt_ms=15.0)
        gain.learn(n_streams=1, n_tokens=1, plain_ms=10.0, planned_ms=70.0, felt_ms=70.0)

    assert not gain.is_resting


def test_little_of_what_was_gained_is_saved() -> None:
    gain = MeasuredGain()
    tried(gain, 500, n_tokens=16, felt_ms=50.0)

    n_tried = tried(gain, 500, n_tokens=1, felt_ms=20.0)

    assert gain.is_resting
    assert n_tried <= MOST_SAVED + MOST_LOST + 1


def test_guessing_rests_where_arrivals_cut_its_steps_again_and_again() -> None:
    gain = MeasuredGain()
    assert gain.may_try()

    gain.lost(200.0, 10.0)

    assert gain.is_resting


def test_a_step_that_something_interrupted_does_not_end_guessing() -> None:
    gain = MeasuredGain()
    tried(gain, 60, n_tokens=3, felt_ms=15.0)

    tried(gain, 1, n_tokens=3, felt_ms=5000.0)

    assert not gain.is_resting
    assert gain.ratio > 1.5
