"""Pieces of a chat that were tokenized before are not tokenized again; the tokens stay the same."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from umad import nano
from umad.engine.chats.plain_text import PlainText
from umad.engine.known_pieces import LEAST_CHARS, KnownPieces
from umad.engine.llamacpp import llama
from umad.engine.vocab import Vocabulary

llama.start()


def finds_no_other_tokens(counted: "Counted") -> None:
    texts = st.text(max_size=4) | st.sampled_from(
        [" ", "  ", "\n", "\n\n", " a", "word ", "\u00e9", "\u65e5\u672c", LONG, OTHER, " " * 600]
    )
    controls = st.sampled_from(counted.controls or ["x"])

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.lists(texts | controls, max_size=12), st.booleans())
    def tokens_are_the_same(some: list[str], with_ends: bool) -> None:
        text = "".join(some)
        found = counted.pieces.tokens(text, with_ends=with_ends).tolist()
        assert found == counted.whole(text, with_ends=with_ends)

    tokens_are_the_same()


class Counted:
    """A real vocabulary, that says which texts it was asked for."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.model = llama.Model(str(path), vocab_only=True)
        self.asked: list[str] = []
        controls = {
            self.model.piece(token, special=True).decode("utf-8", "replace"): token
            for token in self.model.control_tokens()
        }
        self.controls = [text for text in controls if text]
        self.pieces = KnownPieces(
            tokenize=self.tokenize,
            controls_in=PlainText(controls).controls_in,
            control_of=controls,
            **settings,
        )

    def tokenize(self, text: str, with_ends: bool) -> NDArray[np.int32]:
        self.asked.append(text)
        return self.model.tokenize(text.encode(), add_special=with_ends, parse_special=True)

    def whole(self, text: str, *, with_ends: bool) -> list[int]:
        ids = self.model.tokenize(text.encode(), add_special=with_ends, parse_special=True)
        return [int(one) for one in ids]


@pytest.fixture
def counted() -> Counted:
    return Counted(nano.path())


def chat(*texts: str) -> str:
    return "".join(f"<|im_start|>user\n{text}<|im_end|>\n" for text in texts)


LONG, OTHER = "a long system prompt " * 60, "another long text " * 60


def test_a_next_turn_tokenizes_only_what_is_new(counted: Counted) -> None:
    counted.pieces.tokens(chat(LONG, "one"), with_ends=True)
    counted.asked.clear()

    found = counted.pieces.tokens(chat(LONG, "one", OTHER, "two"), with_ends=True)

    assert found.tolist() == counted.whole(chat(LONG, "one", OTHER, "two"), with_ends=True)
    assert not any(LONG in text for text in counted.asked)
    assert sum(OTHER in text for text in counted.asked) == 1


def test_a_short_text_is_tokenized_as_it_stands(counted: Counted) -> None:
    text = chat("short")

    assert counted.pieces.tokens(text, with_ends=True).tolist() == counted.whole(
        text, with_ends=True
    )
    assert counted.asked == [text]


def test_the_oldest_pieces_are_forgotten() -> None:
    counted = Counted(nano.path(), most_chars=2 * len(LONG))
    for number in range(5):
        counted.pieces.tokens(chat(f"{number}{LONG}"), with_ends=False)
    counted.asked.clear()

    counted.pieces.tokens(chat(f"4{LONG}"), with_ends=False)
    assert not any(LONG in text for text in counted.asked)
    counted.pieces.tokens(chat(f"0{LONG}"), with_ends=False)
    assert any(LONG in text for text in counted.asked)


def test_what_is_kept_cannot_be_changed(counted: Counted) -> None:
    vocab = Vocabulary(counted.model)
    first = vocab.tokenize_rendered(chat(LONG))
    first[:] = 0

    assert vocab.tokenize_rendered(chat(LONG)).tolist() == counted.whole(chat(LONG), with_ends=True)


def test_a_control_token_that_takes_blanks_away_is_no_place_to_cut() -> None:
    """<cut> strips blanks on its left, as a few vocabularies say of some of theirs."""

    def tokenize(text: str, with_ends: bool) -> NDArray[np.int32]:
        while " <cut>" in text:
            text = text.replace(" <cut>", "<cut>")
        ids = [
            1 if piece == "<cut>" else ord(letter) + 2
            for piece in text.replace("<cut>", "\0<cut>\0").split("\0")
            for letter in (piece if piece != "<cut>" else "x")
        ]
        return np.array(ids, np.int32)

    def controls_in(text: str) -> Iterable[tuple[int, int]]:
        at = text.find("<cut>")
        while at >= 0:
            yield at, at + 5
            at = text.find("<cut>", at + 1)

    pieces = KnownPieces(tokenize=tokenize, controls_in=controls_in, control_of={"<cut>": 1})
    text = "x" * LEAST_CHARS + "  <cut>" + "y" * LEAST_CHARS

    assert pieces.tokens(text, with_ends=False).tolist() == tokenize(text, False).tolist()


def test_the_tokens_are_those_of_the_whole_text() -> None:
    """Of nano; `tests/zoo` tries the vocabularies among llama.cpp's models."""
    finds_no_other_tokens(Counted(nano.path()))
