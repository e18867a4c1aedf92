"""Sequences with media leave the pool for host memory and come back exactly, whole images in one
slab, with the real projectors and text models.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engine.media_context import AFTER, BEFORE
from tests.engine.media_loop import MediaLoop, same
from tests.engine.projector_files import FAMILIES, image, sound, write_mrope_text
from umad import nano
from umad.media.medium import Medium
from umad.step import SeqPark, SeqRestore

MORE = "\n\ndef again():\n    return"
# A slab has 256 cells; the image under M-RoPE has 400, and the sound has 375.
MEDIA: dict[str, Medium] = {
    "gemma3": image(),
    "qwen2vl": image(560, 560),
    "ultravox": sound(29.0),
}
# Two of these conversations do not fit.
POOL: dict[str, Any] = {"ctx_size": 768, "park_bytes": 2**26, "max_seqs": 4}


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def loop_of(folder: Path, family: str, **settings: Any) -> MediaLoop:
    text = write_mrope_text(folder / "text.gguf") if family == "qwen2vl" else nano.path()
    projector = FAMILIES[family][0](folder / f"mmproj-{family}.gguf")
    return MediaLoop(text, projector, **{**POOL, **settings})


def stranger(which: int) -> str:
    """A text of most of the pool, unlike any other. A byte is a token, or less than one."""
    drawn = np.random.default_rng(which)
    return "".join(chr(97 + at) for at in drawn.integers(0, 26, 560))


def moves(loop: MediaLoop, kind: type) -> list[Any]:
    return [one for one in loop.memory if isinstance(one, kind)]


def crowd_out(loop: MediaLoop) -> None:
    """Others need the whole pool, one after the other."""
    for rid in (11, 12, 13):
        loop.answer(rid, stranger(rid), n_new=2)


def test_a_second_turn_that_was_parked_has_the_logits_of_one_that_stayed(
    tmp_path: Path, family: str
) -> None:
    medium = MEDIA[family]
    stayed = loop_of(tmp_path, family, ctx_size=4096)
    n_first = stayed.submit(1, BEFORE, medium, AFTER)
    stayed.run()
    expected = stayed.answer(2, BEFORE, medium, AFTER, MORE, n_new=12)

    loop = loop_of(tmp_path, family)
    loop.answer(1, BEFORE, medium, AFTER)
    crowd_out(loop)
    found = loop.answer(2, BEFORE, medium, AFTER, MORE, n_new=12)

    assert moves(loop, SeqPark)
    assert moves(loop, SeqRestore)
    assert loop.cached[2] == stayed.cached[2] >= n_first - 1
    assert loop.n_encoded == 1
    assert same(found, expected)
    stayed.close()
    loop.close()


def test_no_slab_has_a_part_of_an_image_under_m_rope(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, "qwen2vl")
    n_cells = loop.submit(1, BEFORE, MEDIA["qwen2vl"], AFTER)
    loop.run()
    ((start, end),) = loop.spans[1]

    crowd_out(loop)

    slabs = [(one.start, one.start + one.n_tokens) for one in moves(loop, SeqPark)]
    assert end - start == 400
    assert slabs[:2] == [(0, start), (start, end)]
    # The answer has four tokens, and the last one is never computed.
    assert slabs[2] == (end, n_cells + 3)
    loop.close()


def test_a_medium_that_two_conversations_share_is_put_back_for_each(
    tmp_path: Path, family: str
) -> None:
    """Each goes on elsewhere behind it, and behind what of it is in the pool."""
    medium = MEDIA[family]
    ends = ("\n    pass", "\n    yield 1")
    stayed, loop = loop_of(tmp_path, family, ctx_size=4096), loop_of(tmp_path, family)
    for one in (stayed, loop):
        for rid, end in enumerate(ends):
            one.answer(rid, BEFORE, medium, AFTER, end, n_new=6)
        if one is loop:
            crowd_out(one)
        for rid, end in enumerate(ends):
            one.answer(20 + rid, BEFORE, medium, AFTER, end, MORE, n_new=6)

    assert moves(loop, SeqRestore)
    assert loop.n_encoded == 1
    assert [loop.ids[rid] for rid in (20, 21)] == [stayed.ids[rid] for rid in (20, 21)]
    stayed.close()
    loop.close()


def test_a_request_that_leaves_in_the_middle_of_an_image_leaves_what_is_before_it(
    tmp_path: Path,
) -> None:
    """Its rows lie at one position, and their end is not there yet."""
    loop = loop_of(tmp_path, "qwen2vl", ctx_size=4096, batch=64, ubatch=64)
    medium = MEDIA["qwen2vl"]
    before = BEFORE * 4
    loop.submit(1, before, medium, AFTER)
    while loop.step().rows is None:
        pass
    loop.stop(1)
    loop.run()
    calm = loop_of(tmp_path, "qwen2vl", ctx_size=4096, batch=64, ubatch=64)
    expected = calm.answer(1, before, medium, AFTER, n_new=8)

    loop.answer(2, before, medium, AFTER, n_new=8)

    assert loop.cached[2] == loop.spans[2][0][0]
    assert loop.ids[2] == calm.ids[1]
    assert len(expected) == 8
    calm.close()
    loop.close()


@pytest.mark.parametrize("slice_rows", [17, 64])
def test_sliced_equals_whole(tmp_path: Path, family: str, slice_rows: int) -> None:
    """Rows of a causal model in small slices, and those of another at once."""
    medium = MEDIA[family]
    whole = loop_of(tmp_path, family, ctx_size=2048, batch=512)
    expected = whole.answer(1, BEFORE, medium, AFTER, n_new=8)
    sliced = loop_of(tmp_path, family, ctx_size=2048, batch=slice_rows, ubatch=slice_rows)

    sliced.answer(1, BEFORE, medium, AFTER, n_new=8)

    assert sliced.ids[1] == whole.ids[1]
    assert len(expected) == 8
    whole.close()
    sliced.close()
