"""Which files of a repository are fetched."""

from pathlib import Path

import pytest

from umad.errors import UnknownModel
from umad.models.fetching.choice import DEFAULT, LADDER, Choice, choose

# As unsloth, bartowski and ggml-org lay theirs out.
UNSLOTH = [
    "Qwen3-30B-A3B-IQ4_XS.gguf",
    "Qwen3-30B-A3B-Q4_K_M.gguf",
    "Qwen3-30B-A3B-Q8_0.gguf",
    "Qwen3-30B-A3B-UD-Q4_K_XL.gguf",
    "BF16/Qwen3-30B-A3B-BF16-00001-of-00002.gguf",
    "BF16/Qwen3-30B-A3B-BF16-00002-of-00002.gguf",
]
VISION = [
    "gemma-3-4b-it-Q4_K_M.gguf",
    "gemma-3-4b-it-Q8_0.gguf",
    "mmproj-BF16.gguf",
    "mmproj-F16.gguf",
    "mmproj-F32.gguf",
    "imatrix_unsloth.gguf",
]
GPT_OSS = ["gpt-oss-20b-mxfp4.gguf"]
PHI = "Phi-3-mini-4k-instruct-q4.gguf"


def chosen(names: list[str], wanted: str = "", file: str = "") -> Choice:
    return choose(names, repository="org/repo", wanted=wanted, file=file)


def main_of(names: list[str], wanted: str = "", file: str = "") -> str:
    return str(chosen(names, wanted, file).files.main)


def test_nobody_said_which_so_it_is_q4_k_m() -> None:
    choice = chosen(UNSLOTH)

    assert choice.files.main == Path("Qwen3-30B-A3B-Q4_K_M.gguf")
    assert (choice.quantization, choice.is_makeshift, choice.is_only) == ("Q4_K_M", False, True)


@pytest.mark.parametrize(
    ("names", "main"),
    [
        (["m-Q8_0.gguf", "m-Q4_K_S.gguf", "m-F16.gguf"], "m-Q4_K_S.gguf"),
        (["m-Q8_0.gguf", "m-Q5_K_M.gguf", "m-Q3_K_M.gguf"], "m-Q5_K_M.gguf"),
        (["m-F16.gguf", "m-Q8_0.gguf"], "m-Q8_0.gguf"),
        (["m-F16.gguf", "m-Q2_K.gguf", "m-IQ3_M.gguf"], "m-IQ3_M.gguf"),
        (["m-UD-Q4_K_XL.gguf", "m-Q8_0.gguf"], "m-UD-Q4_K_XL.gguf"),
        (["m-bf16.gguf"], "m-bf16.gguf"),
        # As Microsoft has Phi-3: the bits alone.
        (["Phi-3-mini-4k-instruct-fp16.gguf", "Phi-3-mini-4k-instruct-q4.gguf"], PHI),
        (["m-F16.gguf", "m-Q5_K.gguf", "m-Q4_K.gguf"], "m-Q4_K.gguf"),
        (GPT_OSS, "gpt-oss-20b-mxfp4.gguf"),
    ],
)
def test_without_a_q4_k_m_the_first_of_the_ladder_is_taken_and_said(
    names: list[str], main: str
) -> None:
    choice = chosen(names)

    assert str(choice.files.main) == main
    assert choice.is_makeshift


def test_a_quantization_newer_than_the_ladder_is_taken_where_it_is_the_only_one() -> None:
    assert main_of(["m-Q9_X.gguf", "mmproj-F16.gguf"]) == "m-Q9_X.gguf"


def test_a_file_whose_name_says_nothing_is_taken_without_a_word() -> None:
    choice = chosen(["model.gguf"])

    assert (choice.quantization, choice.is_makeshift) == ("", False)


def test_the_ladder_begins_with_the_default_and_names_nothing_twice() -> None:
    assert LADDER[0] == DEFAULT == "Q4_K_M"
    assert len(set(LADDER)) == len(LADDER)


def test_a_quantization_that_is_asked_for_is_taken_or_refused() -> None:
    assert main_of(UNSLOTH, "IQ4_XS") == "Qwen3-30B-A3B-IQ4_XS.gguf"
    with pytest.raises(UnknownModel, match=r"has no Q4_K_S; near: .*; it has: BF16, IQ4_XS"):
        chosen(UNSLOTH, "Q4_K_S")


def test_the_mark_of_dynamic_quantizations_need_not_be_written() -> None:
    assert main_of(UNSLOTH, "Q4_K_XL") == "Qwen3-30B-A3B-UD-Q4_K_XL.gguf"
    assert main_of([*UNSLOTH, "Qwen3-30B-A3B-UD-Q8_0.gguf"], "Q8_0") == "Qwen3-30B-A3B-Q8_0.gguf"


def test_the_projector_comes_with_the_model_in_half_precision() -> None:
    choice = chosen(VISION, "Q8_0")

    assert choice.files.projector == Path("mmproj-F16.gguf")
    assert str(choice.files.main) == "gemma-3-4b-it-Q8_0.gguf"


def test_a_split_comes_with_all_its_parts_in_order() -> None:
    choice = chosen(UNSLOTH, "BF16")

    assert [str(one) for one in choice.files.parts] == UNSLOTH[4:]


def test_a_split_that_lacks_a_part_is_not_begun() -> None:
    with pytest.raises(UnknownModel, match=r"not whole: it lacks BF16/.*-00002-of-00002\.gguf"):
        chosen(UNSLOTH[:-1], "BF16")


def test_one_file_may_be_named_by_its_path() -> None:
    assert main_of(UNSLOTH, file=UNSLOTH[5]) == UNSLOTH[4]
    with pytest.raises(UnknownModel, match=r"no file Qwen3-30B-A3B-Q4_K_L.gguf; near: "):
        chosen(UNSLOTH, file="Qwen3-30B-A3B-Q4_K_L.gguf")
    with pytest.raises(UnknownModel, match=r"it comes with the model"):
        chosen(VISION, file="mmproj-F16.gguf")


def test_two_models_of_one_quantization_are_not_guessed_between() -> None:
    two = ["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"]

    with pytest.raises(UnknownModel, match=r"2 models of Q4_K_M: .* name one as hf:org/repo/a"):
        chosen(two)

    assert not chosen(two, file="b-Q4_K_M.gguf").is_only


def test_a_repository_of_other_files_has_no_model() -> None:
    with pytest.raises(UnknownModel, match=r"no model in GGUF"):
        chosen(["mmproj-F16.gguf", "imatrix.gguf"])
