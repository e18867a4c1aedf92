"""Silence within a window is shortened, nothing else is, and times are those of the window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.speech.silence import EDGE_S, LEAST_S, SILENT, without_silence
from umad.speech.window import SAMPLE_RATE, Part, WindowHeard

# Seconds of sound, and of the silence behind it.
stretches = st.lists(
    st.tuples(st.floats(0, 3), st.floats(0, 9), st.floats(0, SILENT * 0.99)), min_size=1, max_size=5
)


def sound(*pairs: tuple[float, float]) -> np.ndarray:
    return window([(loud_s, quiet_s, 0.0) for loud_s, quiet_s in pairs])


def window(pairs: list[tuple[float, float, float]]) -> np.ndarray:
    """Every sample of a sound is another one, so that each can be found again."""
    random = np.random.default_rng(1)
    pieces = []
    for loud_s, quiet_s, hiss in pairs:
        pieces += [
            random.uniform(SILENT, 1, int(loud_s * SAMPLE_RATE)),
            random.uniform(-hiss, hiss, int(quiet_s * SAMPLE_RATE)),
        ]
    return np.concatenate(pieces).astype(np.float32)


@given(stretches)
def test_no_sound_is_left_out_and_every_one_is_where_it_was(
    pairs: list[tuple[float, float, float]],
) -> None:
    samples = window(pairs)

    found = without_silence(samples)

    left = np.flatnonzero(np.abs(found.samples) >= SILENT)
    was = np.flatnonzero(np.abs(samples) >= SILENT)
    assert np.array_equal(found.samples[left], samples[was])
    for at, before in list(zip(left, was, strict=True))[:: max(1, len(left) // 50)]:
        # In the middle of a sample, because a cut stands between two.
        place = found.place((at + 0.5) / SAMPLE_RATE)
        assert place == pytest.approx((before + 0.5) / SAMPLE_RATE, abs=1e-6)


@given(stretches)
def test_no_silence_is_left_that_is_longer_than_a_pause(
    pairs: list[tuple[float, float, float]],
) -> None:
    found = without_silence(window(pairs))

    is_sound = np.abs(found.samples) >= SILENT
    edges = np.flatnonzero(np.concatenate(([True], is_sound, [True])))
    # Of the blocks in which sound begins and ends some is left, too.
    assert np.diff(edges).max() <= (LEAST_S + 0.03) * SAMPLE_RATE


def test_a_pause_of_somebody_who_speaks_stays() -> None:
    samples = sound((3, LEAST_S - 0.1), (3, LEAST_S - 0.1), (1, 0))

    assert np.array_equal(without_silence(samples).samples, samples)


def test_nothing_is_heard_of_silence() -> None:
    for seconds in (0.0, 0.5, 30.0):
        assert not without_silence(sound((0, seconds))).samples.size


def test_words_keep_their_places_and_none_stands_in_the_silence() -> None:
    # Heard are 0.5 s of silence at every end of it: 10 s of it are 1 s. A word begins 0.2 s before
    # its sound at most.
    found = without_silence(sound((4, 10), (4, 0)))
    assert found.samples.size == 9 * SAMPLE_RATE
    told = WindowHeard(
        parts=(
            Part(text=" one", start_s=0.5, end_s=4.7, tokens=(1,), logprob=0.0,
                 words=((" one", 0.5, 4.2, 1.0),)),
            Part(text=" two", start_s=4.1, end_s=8.0, tokens=(2,), logprob=0.0,
                 words=((" two", 4.4, 6.0, 1.0), (" three", 6.0, 8.0, 1.0))),
        ),
        next_s=8.0,
        language="en",
        context=(),
    )  # fmt: skip

    placed = found.placed(told)

    assert [(one.start_s, one.end_s) for one in placed.parts] == [(0.5, 4.5), (13.8, 17.0)]
    assert [word[1:3] for one in placed.parts for word in one.words] == [
        (0.5, 4.2), (13.8, 15.0), (15.0, 17.0),
    ]  # fmt: skip
    assert placed.next_s == 17.0


def test_a_word_that_seems_to_be_over_before_its_sound_begins_with_it() -> None:
    found = without_silence(sound((4, 10), (4, 0)))
    assert found.span(4.5, 4.6) == (13.8, 13.8)
    assert found.span(0.0, 0.1) == (0.0, 0.1)


def test_no_word_begins_in_the_silence_at_the_beginning_of_a_window() -> None:
    found = without_silence(np.concatenate([np.zeros(SAMPLE_RATE // 2, np.float32), sound((4, 0))]))
    assert not found.cuts
    assert found.span(0.0, 0.1) == pytest.approx((0.3, 0.3))
    assert found.span(0.2, 1.0) == pytest.approx((0.3, 1.0))


def test_silence_before_the_first_sound_is_told_and_no_other() -> None:
    assert without_silence(sound((0, 20), (4, 0))).begins_s == 20 - EDGE_S
    assert without_silence(sound((4, 20), (4, 0))).begins_s == 0
    assert without_silence(sound((0, 1), (4, 0))).begins_s == 0
    assert without_silence(sound((0, 20))).begins_s == 0


def test_a_window_goes_on_where_its_last_silence_begins() -> None:
    found = without_silence(sound((4, 20)))

    assert found.samples.size == 4.5 * SAMPLE_RATE
    assert found.place(4.5) == pytest.approx(4 + EDGE_S)
