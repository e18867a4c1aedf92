"""Tokens to words with their times."""

from umad.speech.words import Token, words_of


def token(data: bytes, start: float, end: float, probability: float = 0.5) -> Token:
    return Token(data=data, start_s=start, end_s=end, probability=probability)


def test_a_word_is_from_its_blank_to_the_next_one() -> None:
    tokens = [
        token(b" fool", 1.0, 1.4, 0.8),
        token(b"ish", 1.4, 1.6, 0.6),
        token(b"ness", 1.6, 2.0),
    ]

    words = list(words_of([*tokens, token(b",", 2.0, 2.1), token(b" it", 2.2, 2.3)], language="en"))

    assert [(text, start, end) for text, start, end, _ in words] == [
        ("foolishness,", 1.0, 2.1),
        ("it", 2.2, 2.3),
    ]
    assert words[0][3] == (0.8 + 0.6 + 0.5 + 0.5) / 4


def test_a_language_without_blanks_has_a_word_for_each_whole_character() -> None:
    data = "日本".encode()
    tokens = [token(data[:2], 0.0, 0.1), token(data[2:3], 0.1, 0.2), token(data[3:], 0.2, 0.4)]

    words = list(words_of(tokens, language="ja"))

    assert [(text, start, end) for text, start, end, _ in words] == [
        ("日", 0.0, 0.2),
        ("本", 0.2, 0.4),
    ]


def test_blanks_alone_are_no_word() -> None:
    assert list(words_of([token(b" ", 0, 1), token(b"  ", 1, 2)], language="en")) == []
