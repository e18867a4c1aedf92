"""How long one stream may be: one row a file, named by what the file says."""

from pathlib import Path
from typing import Any

import pytest

from tests.models.gguf_bytes import gguf
from umad.models.gguf import GgufHeader, read_header
from umad.models.positions import stream_context, trained_tokens

MANY = 1_000_000
TRAINED = {"llama.context_length": 4096}
LEARNT = [("position_embd.weight", (64, 512), 0, 4 * 64 * 512)]


def header_of(tmp_path: Path, values: dict[str, Any], tensors: Any = ()) -> GgufHeader:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf({"general.architecture": "llama", **values}, tensors))
    return read_header(path)


def scaled(kind: str | None, factor: float | None, original: int | None = None) -> dict[str, Any]:
    given = {"type": kind, "factor": factor, "original_context_length": original}
    return {f"llama.rope.scaling.{key}": one for key, one in given.items() if one is not None}


@pytest.mark.parametrize(
    ("values", "tokens"),
    [
        pytest.param(TRAINED, 4096, id="the length it was trained on"),
        pytest.param({}, 0, id="nothing"),
        pytest.param({**TRAINED, **scaled("linear", 4.0)}, 16384, id="linear scaling"),
        pytest.param({**TRAINED, **scaled(None, 2.0)}, 8192, id="a factor without a type"),
        pytest.param({**TRAINED, "llama.rope.scale_linear": 2.0}, 8192, id="as older files say it"),
        pytest.param({**TRAINED, **scaled("yarn", 4.0, 4096)}, 16384, id="YaRN of its context"),
        pytest.param(
            {"llama.context_length": 131072, **scaled("yarn", 32.0, 4096)},
            131072,
            id="YaRN whose context is the stretched one",
        ),
        pytest.param(
            {"llama.context_length": 40960, **scaled("yarn", 4.0, 32768)},
            131072,
            id="YaRN of another context",
        ),
        pytest.param({**TRAINED, **scaled("yarn", 1.5)}, 6144, id="a broken factor, YaRN"),
        pytest.param(
            {"llama.context_length": 131072, **scaled("longrope", 32.0, 4096)},
            131072,
            id="LongRoPE names the long one",
        ),
        pytest.param({**TRAINED, **scaled("none", 8.0)}, 4096, id="scaling that is off"),
        pytest.param({**TRAINED, **scaled("linear", 1.0)}, 4096, id="a factor of one"),
        pytest.param({**TRAINED, **scaled("linear", 0.0)}, 4096, id="a factor of nothing"),
        pytest.param({**TRAINED, **scaled("linear", float("nan"))}, 4096, id="no number"),
        pytest.param({**TRAINED, **scaled("linear", float("inf"))}, 4096, id="without end"),
        pytest.param(
            {
                "general.architecture": "gemma3",
                "gemma3.context_length": 131072,
                "gemma3.rope.scaling.type": "linear",
                "gemma3.rope.scaling.factor": 8.0,
            },
            131072,
            id="Gemma 3 names the stretched one",
        ),
    ],
)
def test_a_file_says_how_long_a_text_its_model_reads(
    tmp_path: Path, values: dict[str, Any], tokens: int
) -> None:
    assert trained_tokens(header_of(tmp_path, values)) == tokens


@pytest.mark.parametrize(
    ("values", "tensors", "n_cells", "asked", "context"),
    [
        pytest.param(TRAINED, (), 8192, None, (4096, "training"), id="a pool beyond the training"),
        pytest.param(TRAINED, (), 2048, None, (2048, "pool"), id="a small pool"),
        pytest.param(TRAINED, (), 4096, None, (4096, "training"), id="a pool of just that size"),
        pytest.param({}, (), 8192, None, (8192, "pool"), id="a file that does not say"),
        pytest.param(TRAINED, (), 8192, 6000, (6000, "asked"), id="more than the training, asked"),
        pytest.param(TRAINED, (), 8192, 512, (512, "asked"), id="less, asked"),
        pytest.param(TRAINED, (), 1024, 6000, (1024, "pool"), id="asked for more than the pool"),
        pytest.param(
            {**TRAINED, **scaled("yarn", 2.0, 4096)}, (), MANY, None, (8192, "training"), id="YaRN"
        ),
        pytest.param(TRAINED, LEARNT, 8192, None, (512, "positions"), id="a row for each position"),
        pytest.param(
            TRAINED, LEARNT, 8192, 6000, (512, "positions"), id="nothing is beyond the last row"
        ),
    ],
)
def test_one_streams_context_is_the_least_of_what_bounds_it(
    tmp_path: Path,
    values: dict[str, Any],
    tensors: Any,
    n_cells: int,
    asked: int | None,
    context: tuple[int, str],
) -> None:
    found = stream_context(header_of(tmp_path, values, tensors), n_cells=n_cells, asked=asked)

    assert (found.tokens, found.bound) == context
