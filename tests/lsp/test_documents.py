"""Open files hold what the editor holds, in every way to count columns."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.lsp.documents import Document, Documents, Encoding, Place

TEXTS = st.text(alphabet="ab\u00e9\U0001f600\f\u2028\n", max_size=30)


def document(text: str, encoding: Encoding = "utf-16") -> Document:
    made = Document(uri="file:///f.py", language="python", encoding=encoding)
    made.replace_all(text)
    return made


def place_of(text: str, at: int, encoding: Encoding) -> Place:
    """Where the character number `at` stands, as an editor counts."""
    before = text[:at]
    line = before.count("\n")
    column = before[before.rfind("\n") + 1 :]
    width = {"utf-8": 1, "utf-16": 2, "utf-32": 4}[encoding]
    units = len(column.encode(encoding if encoding == "utf-8" else f"{encoding}-le")) // width
    return Place(line=line, units=units)


@given(TEXTS, TEXTS, st.data(), st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_a_change_does_what_it_does_in_the_editor(
    text: str, new: str, data: st.DataObject, encoding: Encoding
) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    opened = document(text, encoding)

    opened.replace(place_of(text, start, encoding), place_of(text, end, encoding), new)

    assert "\n".join(opened.lines) == text[:start] + new + text[end:]


@given(TEXTS, st.data(), st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_a_column_counts_characters(text: str, data: st.DataObject, encoding: Encoding) -> None:
    at = data.draw(st.integers(0, len(text)))

    column = document(text, encoding).column(place_of(text, at, encoding))

    assert column == at - text[:at].rfind("\n") - 1


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_all_three_ends_of_lines_are_ends(end: str) -> None:
    assert document(f"a{end}b{end}").lines == ["a", "b", ""]


def test_nothing_else_ends_a_line() -> None:
    assert document("a\fb\u2028c\x85d\vE").lines == ["a\fb\u2028c\x85d\vE"]


def test_what_lies_beyond_the_file_is_its_end() -> None:
    opened = document("a\nb")

    opened.replace(Place(line=9, units=9), Place(line=9, units=9), "c")

    assert opened.lines == ["a", "bc"]


@pytest.mark.parametrize(
    ("encoding", "columns"),
    [
        ("utf-8", [0, 1, 2, 2, 3, 3, 3, 3, 4, 4]),
        ("utf-16", [0, 1, 2, 3, 3, 4, 4]),
        ("utf-32", [0, 1, 2, 3, 4, 4]),
    ],
)
def test_a_place_within_a_character_is_behind_it(encoding: Encoding, columns: list[int]) -> None:
    opened = document("a\u00e9\U0001f600x", encoding)

    assert [opened.column(Place(line=0, units=at)) for at in range(len(columns))] == columns


def test_a_change_whose_ends_are_exchanged_is_the_same_change() -> None:
    opened = document("abc\ndef")

    opened.replace(Place(line=1, units=1), Place(line=0, units=2), "-")
    opened.replace(Place(line=0, units=3), Place(line=0, units=1), "+")

    assert opened.lines == ["a+ef"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_place_in_an_endless_line_is_found_without_looking_at_each_character(
    encoding: Encoding,
) -> None:
    line = "\u00e9" * 3_000_000 + "\U0001f600"
    units = len(line.encode(encoding if encoding == "utf-8" else "utf-16-le"))
    opened = document(line, encoding)

    looked_at = 0

    def count(*_: object) -> None:
        nonlocal looked_at
        looked_at += 1

    sys.setprofile(count)
    try:
        column = opened.column(Place(line=0, units=units // (1 if encoding == "utf-8" else 2)))
    finally:
        sys.setprofile(None)

    assert column == len(line)
    assert looked_at < 100


def test_a_change_of_a_long_file_makes_few_new_lines() -> None:
    opened = document("line\n" * 200_000)
    others = [opened.lines[0], opened.lines[-2]]

    opened.replace(Place(line=100_000, units=0), Place(line=100_000, units=4), "new\nlines")

    assert opened.lines[99_999:100_003] == ["line", "new", "lines", "line"]
    assert opened.lines[0] is others[0]
    assert opened.lines[-2] is others[1], "lines that did not change are not copied"


def test_a_closed_file_is_forgotten() -> None:
    files = Documents()
    files.open("file:///f", "python", "x")

    files.close("file:///f")
    files.close("file:///f")

    assert files.get("file:///f") is None
