"""Guesses from other texts of the same app: what is kept of them, for how long, and for whom."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from umad.scheduler.speculation import other_texts
from umad.scheduler.speculation.borrowing import Borrowing
from umad.scheduler.speculation.grams import GRAM
from umad.scheduler.speculation.lookup import COPY, INDEXED_AT_ONCE, PromptLookup
from umad.scheduler.speculation.other_texts import (
    LEAST_KNOWN,
    MOST_APPS,
    MOST_BESIDE,
    MOST_PENDING,
    VOLUME_TOKENS,
    App,
    OtherTexts,
)

EDITOR, OTHER = App("", "editor"), App("", "terminal")
FILE = list(range(100, 180))


def text(tokens: list[int]) -> PromptLookup:
    lookup = PromptLookup(np.array(tokens, np.int32))
    while lookup.n_tokens < len(tokens):
        lookup.take_piece(len(tokens))
    return lookup


def kept(*texts: list[int], app: App = EDITOR) -> OtherTexts:
    found = OtherTexts()
    for rid, tokens in enumerate(texts, 1):
        found.ended(app, rid, np.array(tokens, np.int32))
        settled(found)
    return found


def settled(texts: OtherTexts) -> None:
    """A long text goes in piece by piece."""
    while texts._pending:
        texts.take_piece()


def guess(texts: OtherTexts, tokens: list[int], n: int, app: App = EDITOR) -> tuple[int, ...]:
    """What a stream of `app` with these tokens is expected to say next."""
    borrowing = Borrowing()
    borrowing.look_up(text(tokens), texts.beside(app, 99))
    return borrowing.guess(n)


# -- what is guessed --------------------------------------------------------------------------


def test_a_text_that_has_ended_tells_how_another_one_goes_on() -> None:
    assert guess(kept(FILE), [1, 2, *FILE[20:30]], 3) == tuple(FILE[30:33])


def test_a_stream_that_runs_tells_how_another_one_goes_on() -> None:
    texts = OtherTexts()
    texts.began(EDITOR, 1, text(FILE).text)

    assert guess(texts, [1, 2, *FILE[20:30]], 3) == tuple(FILE[30:33])


def test_a_stream_that_writes_at_the_same_place_has_nothing_to_tell() -> None:
    texts = OtherTexts()
    texts.began(EDITOR, 1, text(FILE).text)

    assert guess(texts, FILE, 3) == ()


def test_a_stream_is_no_other_text_of_its_own() -> None:
    texts = OtherTexts()
    texts.began(EDITOR, 1, text(FILE).text)

    assert texts.beside(EDITOR, 1) == []


def test_nothing_is_guessed_beyond_the_end_of_a_text() -> None:
    texts = kept(FILE, list(range(300, 350)))

    assert guess(texts, [1, *FILE[-6:-1]], 9) == (FILE[-1],)
    assert guess(texts, [1, *FILE[-5:]], 9) == ()


def test_the_text_that_agrees_longest_is_copied() -> None:
    texts = kept(FILE)
    texts.began(EDITOR, 2, text([*range(500, 540), *FILE[30:34], 7]).text)

    assert guess(texts, [1, *FILE[20:34]], 1) == (FILE[34],)
    assert guess(texts, [1, *FILE[30:34]], 1) == (7,), "the one that is written now"


def test_the_own_text_is_preferred_where_it_agrees_as_long() -> None:
    own = text([*FILE[20:30], 7, *FILE[20:30]])
    borrowing = Borrowing()
    assert own.run == 10

    borrowing.look_up(own, kept([1, 2, *FILE[20:30], *range(800, 840)]).beside(EDITOR, 99))

    assert borrowing.run == 0


def test_a_copy_is_followed_while_it_agrees_and_left_where_it_does_not() -> None:
    borrowing = Borrowing()
    borrowing.look_up(text([1, *FILE[:5]]), kept(FILE).beside(EDITOR, 99))

    assert borrowing.take(FILE[5]) is True
    assert borrowing.guess(2) == (FILE[6], FILE[7])
    assert borrowing.run == 6
    assert borrowing.take(9) is False
    assert borrowing.guess(2) == ()
    assert borrowing.take(9) is None


def test_a_copy_ends_with_its_text_and_nothing_is_learnt_from_that() -> None:
    borrowing = Borrowing()
    borrowing.look_up(text([1, *FILE[-5:-1]]), kept(FILE).beside(EDITOR, 99))

    assert borrowing.take(FILE[-1]) is True
    assert borrowing.take(0) is None


def test_a_copy_of_a_stream_that_runs_goes_on_as_that_one_does() -> None:
    ahead = PromptLookup(np.array([*FILE, 0], np.int32))
    ahead.take_piece(len(FILE))
    borrowing = Borrowing()
    borrowing.look_up(text([1, *FILE[-5:-1]]), [ahead.text])
    assert borrowing.guess(5) == (FILE[-1],)

    ahead.text.tokens[len(FILE)] = 55
    ahead.take()

    assert borrowing.guess(5) == (FILE[-1], 55)


# -- how much is kept -------------------------------------------------------------------------


def test_a_chats_earlier_turns_are_kept_once() -> None:
    turns = [list(range(100 * n, 100 * n + 100)) for n in range(1, 40)]
    chats: list[list[int]] = []
    for turn in turns:
        chats.append([*(chats[-1] if chats else []), *turn])

    texts = kept(*chats)

    # All turns of all chats are twenty times as many.
    assert texts.n_kept(EDITOR) < 3 * len(chats[-1])
    assert guess(texts, [1, *turns[3][:9]], 2) == tuple(turns[3][9:11])
    # From one turn into the next, over the place where the later one was put in.
    assert guess(texts, [1, *turns[3][-GRAM:]], 2) == tuple(turns[4][:2])


def test_a_text_that_was_there_already_is_not_put_in_again() -> None:
    texts = kept(FILE)
    n = texts.n_kept(EDITOR)

    texts.ended(EDITOR, 2, np.array(FILE, np.int32))

    assert texts.n_kept(EDITOR) == n


def test_the_oldest_texts_are_forgotten() -> None:
    rng = np.random.default_rng(1)
    texts = kept(FILE, *(rng.integers(1000, 60_000, 9000).tolist() for _ in range(5)))

    assert guess(texts, [1, *FILE[:9]], 1) == ()


def test_a_long_text_is_put_in_piece_by_piece_and_its_end_is_kept() -> None:
    long = list(range(1000, 1000 + 3 * VOLUME_TOKENS))
    texts = OtherTexts()
    texts.ended(EDITOR, 1, np.array(long, np.int32))
    assert texts.n_kept(EDITOR) <= INDEXED_AT_ONCE + 1

    settled(texts)

    assert guess(texts, [1, *long[-20:-10]], 2) == tuple(long[-10:-8])
    assert guess(texts, [1, *long[:9]], 1) == ()


OWNERS_APPS = (EDITOR, OTHER, App("you", "editor"))
apps = st.sampled_from(OWNERS_APPS)
operations = st.lists(
    st.tuples(
        apps,
        # What it says again of earlier texts, and what is new.
        st.integers(0, 60),
        st.integers(0, 400),
        st.sampled_from(["ends", "runs", "is stopped", "forgets"]),
    ),
    max_size=40,
)


@given(operations=operations)
@settings(max_examples=60, deadline=None)
def test_memory_is_bounded_whatever_is_said(operations: list[tuple[App, int, int, str]]) -> None:
    texts, said = OtherTexts(), list[int]()
    # Small volumes are full soon.
    whole = other_texts.VOLUME_TOKENS
    other_texts.VOLUME_TOKENS = 256
    try:
        for rid, (app, again, new, what) in enumerate(operations):
            tokens = [*said[:again], *range(1000 * rid, 1000 * rid + new)]
            said = tokens
            if what == "forgets":
                texts.forget(app.owner)
            elif tokens:
                texts.began(app, rid, text(tokens).text)
            if what == "ends":
                texts.ended(app, rid, np.array(tokens, np.int32))
            elif what == "is stopped":
                texts.ended(app, rid, None)

            assert len(texts._pending) <= MOST_PENDING
            for one in texts._apps:
                assert texts.n_kept(one) <= 2 * 256
                assert len(texts.beside(one, -1)) <= MOST_BESIDE + 2
    finally:
        other_texts.VOLUME_TOKENS = whole


def test_only_the_apps_used_last_are_kept() -> None:
    texts = OtherTexts()
    for n in range(MOST_APPS + 3):
        texts.ended(App("", f"app {n}"), n, np.array(FILE, np.int32))

    assert len(texts._apps) == MOST_APPS
    assert guess(texts, [1, *FILE[:9]], 1, App("", "app 0")) == ()


# -- whose they are ---------------------------------------------------------------------------


@given(operations=operations, tail=st.integers(GRAM, 20), at=st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_what_other_apps_say_changes_no_guess(
    operations: list[tuple[App, int, int, str]], tail: int, at: int
) -> None:
    # All apps say the same tokens, and each goes on in its own way.
    alone, beside = OtherTexts(), OtherTexts()
    for rid, (app, again, new, what) in enumerate(operations):
        mark = 9000 * (1 + OWNERS_APPS.index(app))
        tokens = [token for n in range(again + new) for token in (n, n + 1, n + 2, mark + rid)]
        if not tokens or what == "forgets":
            continue
        for texts in (alone, beside) if app == EDITOR else (beside,):
            texts.began(app, rid, text(tokens).text)
            if what == "ends":
                texts.ended(app, rid, np.array(tokens, np.int32))
                settled(texts)
            elif what == "is stopped":
                texts.ended(app, rid, None)
    tokens = [token for n in range(at, at + tail) for token in (n, n + 1, n + 2)]

    assert guess(beside, tokens[:3], 9) == guess(alone, tokens[:3], 9)
    assert guess(beside, tokens, 9) == guess(alone, tokens, 9)


def test_another_owners_app_of_the_same_name_is_another_app() -> None:
    assert guess(kept(FILE), FILE[:9], 1, App("you", "editor")) == ()


def test_what_an_owner_forgets_is_guessed_no_more_not_even_in_a_copy_that_goes_on() -> None:
    texts, mine = kept(FILE), App("me", "editor")
    texts.ended(mine, 7, np.array(FILE, np.int32))
    borrowing = Borrowing()
    borrowing.look_up(text(FILE[:9]), texts.beside(mine, 99))
    assert borrowing.guess(1) == (FILE[9],)

    texts.forget("me")

    assert borrowing.guess(1) == ()
    assert borrowing.take(FILE[9]) is None
    assert guess(texts, FILE[:9], 1, mine) == ()
    assert guess(texts, FILE[:9], 1) == (FILE[9],), "another owner's"
    texts.forget(None)
    assert guess(texts, FILE[:9], 1) == ()


def test_a_text_that_waits_to_be_put_in_is_forgotten_too() -> None:
    texts = OtherTexts()
    long = list(range(INDEXED_AT_ONCE + 100))
    texts.ended(EDITOR, 1, np.array(long, np.int32))

    texts.forget(None)

    assert not texts._pending


def test_a_short_text_is_not_kept() -> None:
    assert kept(FILE[: LEAST_KNOWN - 1]).n_kept(EDITOR) == 0
    assert COPY < LEAST_KNOWN
