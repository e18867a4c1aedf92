"""Text out of tokens: whole characters, nothing from a stop on, nothing held back needlessly."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from umad.sampling.detokenizer import Chunk, Detokenizer


def pieces_of(pieces: list[bytes]) -> Callable[[int], bytes]:
    return pieces.__getitem__


def run(pieces: list[bytes], stops: tuple[str, ...] = ()) -> tuple[list[str], str, Detokenizer]:
    """The chunks' texts, what the flush brought, and the detokenizer afterwards."""
    detokenizer = Detokenizer(pieces_of(pieces), stops=stops)
    chunks = [detokenizer.push(token).text for token in range(len(pieces))]
    return chunks, detokenizer.flush(), detokenizer


def earliest(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """Text before the earliest stop, and the longest stop that begins there."""
    found = [(text.find(stop), -len(stop), stop) for stop in stops if stop in text]
    if not found:
        return text, None
    at, _, stop = min(found)
    return text[:at], stop


def beginning_of_a_stop(text: str, stops: tuple[str, ...]) -> str:
    """The longest end of `text` that could go on to be a stop."""
    for at in range(len(text)):
        if any(stop != text[at:] and stop.startswith(text[at:]) for stop in stops):
            return text[at:]
    return ""


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(edge % (len(data) + 1) for edge in at), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


cuts = st.lists(st.integers(0, 200), max_size=12)
# Bytes that UTF-8 treats differently: ASCII, continuations, leads of 2 to 4, surrogates, never.
ODD = list(b"ab\x80\xbf\x9f\xa0\xc3\xe2\x82\xac\xed\xf0\x90\xf4\xff\xc0")
odd_bytes = st.lists(
    st.sampled_from(list(b"ab\x80\xbf\x9f\xa0\xc3\xe2\x82\xac\xed\xf0\x90\xf4\xff\xc0")),
    max_size=24,
).map(bytes)
some_bytes = st.one_of(odd_bytes, st.binary(max_size=40), st.text(max_size=20).map(str.encode))
# Few letters, so that stops overlap, contain and begin one another.
small = st.text(alphabet="ab€", min_size=1, max_size=5)
some_stops = st.lists(small, min_size=1, max_size=5).map(tuple)
some_text = st.text(alphabet="ab€", max_size=30)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(data=some_bytes, at=cuts)
@example(data="€𝄞é".encode(), at=list(range(9)))
@example(data=b"\xed\xa0\x80\xf0\x90\x28\xbc", at=list(range(7)))
def test_any_bytes_cut_anywhere_give_the_text_of_the_whole(data: bytes, at: list[int]) -> None:
    chunks, rest, _ = run(cut(data, at))

    assert "".join(chunks) + rest == data.decode("utf-8", errors="replace")


@settings(max_examples=200, derandomize=True, deadline=None)
@given(text=st.text(max_size=20), at=cuts)
def test_valid_text_comes_out_whole_character_by_whole_character(text: str, at: list[int]) -> None:
    pieces = cut(text.encode(), at)
    chunks, rest, _ = run(pieces)

    # After each piece, every character whose bytes are complete is out, and nothing else.
    for n_pieces in range(1, len(pieces) + 1):
        whole = b"".join(pieces[:n_pieces]).decode("utf-8", errors="ignore")
        assert "".join(chunks[:n_pieces]) == whole
    assert rest == ""


@settings(max_examples=400, derandomize=True, deadline=None)
@given(text=some_text, stops=some_stops, at=cuts)
@example(text="abb", stops=("ab", "abb"), at=[1, 2])
@example(text="aab", stops=("aabb", "ab"), at=[1, 2])
@example(text="aabaabb", stops=("aabaaa", "abb"), at=[])
def test_the_text_ends_before_the_earliest_stop_however_it_was_cut(
    text: str, stops: tuple[str, ...], at: list[int]
) -> None:
    chunks, rest, detokenizer = run(cut(text.encode(), at), stops)

    assert ("".join(chunks) + rest, detokenizer.stop) == earliest(text, stops)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(data=odd_bytes, stops=st.lists(st.sampled_from(["a", "ba", "\ufffd", "\ufffdb"])).map(tuple))
def test_invalid_bytes_and_stops_together_follow_the_text_of_the_whole(
    data: bytes, stops: tuple[str, ...]
) -> None:
    chunks, rest, detokenizer = run([bytes([one]) for one in data], stops)

    expected = earliest(data.decode("utf-8", errors="replace"), stops)
    assert ("".join(chunks) + rest, detokenizer.stop) == expected


@settings(max_examples=300, derandomize=True, deadline=None)
@given(text=some_text, stops=some_stops)
def test_only_what_may_be_the_beginning_of_a_stop_is_held_back(
    text: str, stops: tuple[str, ...]
) -> None:
    detokenizer = Detokenizer(lambda token: text[token].encode(), stops=stops)
    out = ""
    for end in range(1, len(text) + 1):
        chunk = detokenizer.push(end - 1)
        out += chunk.text
        if chunk.stop is not None:
            break
        so_far = text[:end]
        assert out + beginning_of_a_stop(so_far, stops) == so_far


@settings(max_examples=100, derandomize=True, deadline=None)
@given(text=some_text, stops=some_stops, at=cuts)
def test_a_stop_is_told_by_the_token_that_settles_it(
    text: str, stops: tuple[str, ...], at: list[int]
) -> None:
    pieces = cut(text.encode(), at)
    detokenizer = Detokenizer(pieces_of(pieces), stops=stops)
    told = [detokenizer.push(token).stop for token in range(len(pieces))]

    # Once told it stays told, and it was open until then: other text could have changed it.
    for before, after in itertools.pairwise(told):
        assert before is None or before == after
    for n_pieces, stop in enumerate(told, 1):
        so_far = b"".join(pieces[:n_pieces]).decode("utf-8", errors="ignore")
        ends = {earliest(so_far + more, stops) for more in (*stops, *(s[1:] for s in stops), "x")}
        if stop is not None:
            assert ends == {earliest(so_far, stops)}
        elif earliest(so_far, stops)[1] is not None:
            tails = [s[at:] for s in stops for at in range(len(s))]
            assert len({earliest(so_far + more, stops) for more in ("x", *tails)}) > 1


def test_a_resumed_stream_replays_its_tokens_and_goes_on_exactly() -> None:
    pieces = [b"a", b"b\xe2", b"\x82", b"\xaca", b"b", b"c!"]
    stops = ("€abX",)
    whole = Detokenizer(pieces_of(pieces), stops=stops)
    texts = [whole.push(token) for token in range(len(pieces))]

    for sent in range(len(pieces)):
        again = Detokenizer(pieces_of(pieces), stops=stops)
        replayed = [again.push(token) for token in range(sent)]
        assert replayed == texts[:sent]
        assert [again.push(token) for token in range(sent, len(pieces))] == texts[sent:]


def test_nothing_comes_after_a_stop() -> None:
    detokenizer = Detokenizer([b"one\n", b"\ntwo", b"three"].__getitem__, stops=("\n\n",))

    assert detokenizer.push(0) == Chunk("one", None)
    assert detokenizer.push(1) == Chunk("", "\n\n")
    assert detokenizer.push(2) == Chunk("", "\n\n")
    assert detokenizer.flush() == ""


def test_a_stop_left_open_by_a_longer_one_is_told_at_the_end() -> None:
    detokenizer = Detokenizer([b"one\n"].__getitem__, stops=("\n", "\n\n"))

    assert detokenizer.push(0) == Chunk("one", None)
    assert detokenizer.flush() == ""
    assert detokenizer.stop == "\n"


@pytest.mark.parametrize("stop", [*list("[]^-\\&|~.*"), "[[", "a-z", "--", "\x00"])
def test_stops_are_texts_and_never_patterns(stop: str) -> None:
    chunks, rest, detokenizer = run([b"am" + stop.encode() + b"z"], (stop,))

    assert chunks == ["am"]
    assert rest == ""
    assert detokenizer.stop == stop


def test_long_text_full_of_beginnings_takes_time_in_proportion_only() -> None:
    # A search from the start for each token would look at 10**9 characters here.
    stop = "a" * 511 + "b"
    detokenizer = Detokenizer(lambda token: b"aaaa", stops=(stop, "a" * 300 + "c"))

    out = sum(len(detokenizer.push(token).text) for token in range(5_000))

    assert out == 20_000 - 511
