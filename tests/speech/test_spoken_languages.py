"""Languages by the codes and names that programs write."""

import importlib

import pytest

from umad import spoken_languages
from umad.errors import BadRequest
from umad.spoken_languages import NAMES, code_of, name_of
from umad.transcription import TranscribeRequest


def test_the_table_is_whisper_cpps_own() -> None:
    library = importlib.import_module("_pywhispercpp")
    numbers = range(library.whisper_lang_max_id() + 1)

    assert list(NAMES) == [library.whisper_lang_str(number) for number in numbers]
    for number, name in zip(numbers, NAMES.values(), strict=True):
        assert library.whisper_lang_id(name) == number


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        ("English", "en"),
        ("en-US", "en"),
        ("pt_BR", "pt"),
        ("zh-Hans-CN", "zh"),
        ("Haitian  Creole", "ht"),
        ("castilian", "es"),
        ("mandarin", "zh"),
        ("nb-NO", "no"),
        ("eng", "en"),
        ("DEU", "de"),
        ("ger", "de"),
        ("cmn-Hans", "zh"),
        ("haw", "haw"),
        ("klingon", None),
        ("", None),
    ],
)
def test_a_code_a_name_or_one_with_a_region_is_a_language(written: str, code: str | None) -> None:
    assert code_of(written) == code


def test_every_language_has_a_code_of_three_letters_and_none_has_another_ones() -> None:
    threes = [
        other for line in spoken_languages._THREE_LETTERS.split(",") for other in line.split()[1:]
    ]

    assert len(threes) == len(set(threes))
    assert all(len(one) == 3 and one not in NAMES for one in threes)
    assert {code_of(one) for one in (*threes, "haw", "yue")} == set(NAMES)


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("englsh", "did you mean english?"),
        ("ukranian", "did you mean ukrainian"),
        ("castillian", "did you mean spanish"),
        ("klingon", "it is a code such as en or eng, or a name such as english"),
    ],
)
def test_what_is_no_language_is_told_with_names_that_are_like_it(written: str, named: str) -> None:
    with pytest.raises(BadRequest) as refused:
        TranscribeRequest(path="/a.wav", language=written).check()

    assert repr(written) in refused.value.message
    assert named in refused.value.message


def test_a_code_has_a_name_and_an_unknown_one_is_its_own() -> None:
    assert (name_of("de"), name_of("xx")) == ("german", "xx")


def test_a_request_is_refused_for_no_language_and_auto_is_to_be_found_out() -> None:
    request = TranscribeRequest(path="/a.wav", language="auto")
    request.check()

    assert request.spoken is None
    with pytest.raises(BadRequest, match="'klingon'") as refused:
        TranscribeRequest(path="/a.wav", language="klingon").check()
    assert refused.value.field == "language"
