"""Options for positions: each combination means one thing, or is refused by the option's name."""

from pathlib import Path
from typing import Any

import pytest

from tests.models.test_positions import TRAINED, header_of, scaled
from umad.config import EngineSettings
from umad.errors import ModelLoadFailed
from umad.models.positions import stream_context, trained_tokens
from umad.models.rope import Rope, contradiction

QWEN = {"llama.context_length": 32768}
YARN_4 = {"llama.context_length": 131072, **scaled("yarn", 4.0, 32768)}
LONGROPE = {"llama.context_length": 131072, **scaled("longrope", 32.0, 4096)}


def rope(**options: Any) -> Rope:
    return Rope.of(EngineSettings(**options))


@pytest.mark.parametrize(
    ("values", "options", "tokens"),
    [
        pytest.param(
            QWEN,
            {"rope_scaling": "yarn", "rope_scale": 4.0, "yarn_orig_ctx": 32768},
            131072,
            id="the command line that Qwen's makers publish",
        ),
        pytest.param(
            YARN_4,
            {"rope_scaling": "yarn", "rope_scale": 4.0, "yarn_orig_ctx": 32768},
            131072,
            id="the same, of a file that says it already",
        ),
        pytest.param(TRAINED, {"rope_scale": 2.0}, 8192, id="linear, as llama.cpp takes it"),
        pytest.param(TRAINED, {"rope_freq_scale": 0.25}, 16384, id="the inverse"),
        pytest.param(TRAINED, {"rope_scaling": "linear", "rope_scale": 1.5}, 6144, id="a fraction"),
        pytest.param(YARN_4, {"rope_scaling": "none"}, 32768, id="the file's scaling off"),
        pytest.param(YARN_4, {"rope_scale": 2.0}, 65536, id="less than the file's"),
        pytest.param(YARN_4, {"rope_scale": 8.0}, 262144, id="more than the file's"),
        pytest.param(YARN_4, {"yarn_beta_fast": 16.0}, 131072, id="details leave the length"),
        pytest.param(TRAINED, {"rope_freq_base": 5e6}, 4096, id="a base says nothing of a length"),
        pytest.param(
            {
                "general.architecture": "gemma3",
                "gemma3.context_length": 131072,
                "gemma3.rope.scaling.type": "linear",
                "gemma3.rope.scaling.factor": 8.0,
            },
            {"rope_scaling": "none"},
            16384,
            id="Gemma 3 names the stretched one",
        ),
    ],
)
def test_options_say_how_long_a_text_is_then(
    tmp_path: Path, values: dict[str, Any], options: dict[str, Any], tokens: int
) -> None:
    header, asked = header_of(tmp_path, values), rope(**options)

    asked.check(header, has_rope=True)

    assert trained_tokens(header, asked) == tokens
    stream = stream_context(header, n_cells=1_000_000, rope=asked)
    assert (stream.tokens, stream.bound) == (tokens, "training")


@pytest.mark.parametrize(
    ("values", "options", "reason"),
    [
        pytest.param(
            YARN_4, {"rope_scaling": "linear"}, "rope_scaling linear contradicts", id="another kind"
        ),
        pytest.param(
            LONGROPE,
            {"rope_scaling": "yarn", "rope_scale": 2.0},
            "rope_scaling contradicts the file, which has factors of its own (longrope)",
            id="LongRoPE",
        ),
        pytest.param(LONGROPE, {"rope_scale": 2.0}, "rope_scale contradicts", id="and scaled"),
        pytest.param(QWEN, {"rope_scaling": "yarn"}, "needs rope_scale", id="YaRN of nothing"),
        pytest.param(
            QWEN, {"yarn_ext_factor": 0.5}, "yarn_ext_factor is for YaRN", id="YaRN's, without it"
        ),
        pytest.param(
            YARN_4,
            {"yarn_orig_ctx": 4096},
            "yarn_orig_ctx 4096 contradicts the 32768",
            id="another original context",
        ),
        pytest.param(
            QWEN,
            {"rope_scaling": "yarn", "rope_scale": 2.0, "yarn_orig_ctx": 65536},
            "yarn_orig_ctx 65536 is beyond the 32768",
            id="an original context beyond the training",
        ),
        pytest.param(
            YARN_4, {"yarn_beta_slow": 40.0}, "must be above beta_slow", id="slow turns are fast"
        ),
    ],
)
def test_what_contradicts_the_file_is_refused_in_one_line(
    tmp_path: Path, values: dict[str, Any], options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelLoadFailed) as caught:
        rope(**options).check(header_of(tmp_path, values), has_rope=True)

    assert reason in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("options", [{"rope_freq_base": 1e6}, {"rope_scale": 2.0}])
def test_a_model_whose_positions_are_not_rotated_refuses_all_of_them(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    header = header_of(tmp_path, TRAINED)

    with pytest.raises(ModelLoadFailed, match=r"^rope_\w+ is for models whose positions"):
        rope(**options).check(header, has_rope=False)
    rope().check(header, has_rope=False)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"rope_scale": 2.0, "rope_freq_scale": 0.5}, "rope_scale"),
        ({"rope_scaling": "none", "rope_scale": 2.0}, "rope_scale"),
        ({"rope_scaling": "none", "rope_freq_scale": 0.5}, "rope_freq_scale"),
        ({"rope_scaling": "linear", "yarn_orig_ctx": 4096}, "yarn_orig_ctx"),
        ({"rope_scaling": "none", "yarn_attn_factor": 1.0}, "yarn_attn_factor"),
        ({"yarn_beta_fast": 1.0, "yarn_beta_slow": 1.0}, "yarn_beta_fast"),
    ],
)
def test_options_that_contradict_each_other_are_refused_whatever_the_model(
    options: dict[str, Any], name: str
) -> None:
    found = contradiction(EngineSettings(**options))

    assert found is not None
    assert found[0] == name
    assert name in found[1]


def test_options_that_belong_together_do_not_contradict_each_other() -> None:
    settings = EngineSettings(
        rope_scaling="yarn", rope_scale=4.0, yarn_orig_ctx=32768, yarn_beta_fast=32.0
    )

    assert contradiction(settings) is None
    assert contradiction(EngineSettings()) is None


def test_computed_cells_hang_on_every_option() -> None:
    options = {
        "rope_scaling": "yarn",
        "rope_scale": 4.0,
        "rope_freq_base": 1e6,
        "yarn_orig_ctx": 32768,
        "yarn_ext_factor": 1.0,
        "yarn_attn_factor": 1.0,
        "yarn_beta_fast": 32.0,
        "yarn_beta_slow": 1.0,
    }
    words = {rope(**{name: value}).words() for name, value in options.items()}

    assert len(words) == len(options)
    assert rope().words() == ""
    assert rope(rope_scale=4.0).words() == rope(rope_freq_scale=0.25).words()
