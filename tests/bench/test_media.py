"""Photos, their askers, and the tables about them; the projector is one that llama.cpp reads."""

import io
import itertools
import json
from pathlib import Path

import pytest
from PIL import Image

from bench import photos, projector_shape
from bench.latency import Felt
from bench.media import ALONE, BESIDE, Measured, comparisons, guard_line, turns_line
from bench.table import Spread
from tests.engine.media_context import AFTER, BEFORE
from tests.engine.media_loop import MediaLoop
from tests.engine.projector_files import image
from umad import nano


def felt(*, p50_ms: float = 10, p95_ms: float, longest_ms: float) -> Felt:
    return Felt(
        p50_ms=p50_ms,
        p95_ms=p95_ms,
        p99_ms=p95_ms,
        longest_ms=longest_ms,
        first_token_p50_ms=50,
        first_token_p95_ms=60,
        tokens_per_s=70,
    )


def test_no_two_photos_are_one_file_and_all_have_the_same_pixels() -> None:
    photo = photos.jpeg(width=400, height=300)

    files = list(itertools.islice(photos.different(photo), 3))

    pixels = [Image.open(io.BytesIO(one)).tobytes() for one in files]
    assert len(set(files)) == 3
    assert pixels[0] == pixels[1] == pixels[2]


def test_llama_server_is_asked_about_the_next_photo(tmp_path: Path) -> None:
    connection = photos.ServerPhotos(tmp_path / "none.sock", progress=False)
    connection.photos = photos.different(photos.jpeg(width=40, height=30))

    first, second = [
        json.loads(connection.request([], 4).partition(b"\r\n\r\n")[2]) for _ in range(2)
    ]

    assert first["prompt"]["prompt_string"].startswith("<__media__>")
    assert first["prompt"]["multimodal_data"] != second["prompt"]["multimodal_data"]
    assert first["n_predict"] == 4


@pytest.fixture
def measured() -> Measured:
    alone = [felt(p95_ms=20, longest_ms=30), felt(p95_ms=20, longest_ms=25)]
    beside = [felt(p95_ms=22, longest_ms=28), felt(p95_ms=24, longest_ms=31)]
    return Measured(
        felt={"umad": {ALONE: alone, BESIDE: beside}},
        answering={"umad": {ALONE: alone, BESIDE: beside[::-1]}},
        answered={"umad": [3.0, 5.0]},
        turns={"about a text": [100.0, 200.0], "about a photo": [110.0, 190.0]},
    )


def test_what_photos_cost_streams_is_a_ratio_within_a_repetition(measured: Measured) -> None:
    cost, long, answered, turns = comparisons(measured, title="tiny")

    assert cost.ratio("wait p95, ms", BESIDE) == Spread(median=1.15, low=1.1, high=1.2)
    assert answered.samples[BESIDE]["umad"] == [3.0, 5.0]
    ratio = turns.ratio("first token", "about a photo")
    assert ratio is not None
    assert ratio.high == pytest.approx(1.1)
    assert long.kind == "answers-umad"
    assert "first token p50, ms" not in long.samples
    assert guard_line("umad", measured.felt["umad"]) == (
        "umad: p95 at most 1.20 of alone, longest wait 3.1 steps (alone 3.0)"
    )


def test_a_second_turn_is_told_by_pairs(measured: Measured) -> None:
    measured.turns = {"about a text": [100.0] * 4, "about a photo": [90.0, 104.0, 110.0, 130.0]}

    assert turns_line(measured) == (
        "second turns about a photo: the first token comes after 1.04 times that of a text's "
        "(half of 4 pairs: 0.90 to 1.10); they encoded 0 photos"
    )


def test_a_generated_projector_sees_with_a_text_model(tmp_path: Path) -> None:
    shape = projector_shape.SHAPES["tiny"]
    file = tmp_path / "mmproj.gguf"
    projector_shape.write(shape, file, text_width=256, seed=0)
    loop = MediaLoop(nano.path(), file)

    answers = [loop.answer(rid, BEFORE, image(seed=rid), AFTER) for rid in (1, 2)]

    assert loop.encoder.layout(image()).n_cells == shape.rows
    assert (answers[0][0] != answers[1][0]).any()
    loop.close()
