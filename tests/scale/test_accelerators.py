"""Names of accelerators in the spellings that people use, and in those that they do not mean."""

import pytest

from umad.errors import BadRequest
from umad.scale.accelerators import ACCELERATORS, accelerator, parse


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("A100", "A100", 1),
        ("A100:4", "A100", 4),
        ("a100-80gb:2", "A100-80GB", 2),
        ("A100-40GB", "A100", 1),
        ("A100_80GB=8", "A100-80GB", 8),
        ("NVIDIA H100 80GB:8", "H100", 8),
        ("RTX 6000 Ada", "RTX6000-Ada", 1),
        ("rtx-6000-ada:2", "RTX6000-Ada", 2),
        ("MI300X:8", "MI300X", 8),
        ("AMD MI325X", "MI325X", 1),
        ("l40s", "L40S", 1),
        ("B200:8", "B200", 8),
        ("DGX Spark", "GB10", 1),
    ],
)
def test_a_name_is_known_in_any_spelling(text: str, name: str, count: int) -> None:
    found = parse(text)

    assert (found.accelerator.name, found.count) == (name, count)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("H10O:2", "did you mean H100"),
        ("A100-80G", "did you mean A100-80GB"),
        ("MI300", "MI300X"),
        ("quantum", "there are T4"),
        ("A100:0", "1 to 16"),
        ("A100:99", "--nodes"),
        ("A100:two", "is no accelerator"),
        ("", "is no accelerator"),
    ],
)
def test_an_unknown_one_names_near_ones(text: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says) as caught:
        parse(text)

    assert caught.value.field == "accelerators"


def test_every_accelerator_says_where_its_figures_are_from() -> None:
    assert all(one.source and one.memory_bytes > 10 * 10**9 for one in ACCELERATORS)
    assert len({one.name for one in ACCELERATORS}) == len(ACCELERATORS)


def test_fp8_is_of_ada_hopper_and_cdna_3() -> None:
    having = {one.name for one in ACCELERATORS if one.has_fp8}

    assert {"L4", "L40S", "H100", "B200", "GB10", "MI300X", "MI355X"} <= having
    assert not having & {"T4", "V100", "A100", "A100-80GB", "A10G", "MI250"}
    assert not accelerator("T4").has_bf16
