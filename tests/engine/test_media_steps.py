"""Media among the steps of an engine: exact, shared between turns, and beside other streams."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.engine.media_context import AFTER, BEFORE, by_helper, context_for
from tests.engine.media_loop import MediaLoop, same
from tests.engine.projector_files import (
    FAMILIES,
    image,
    write_gemma3,
    write_mrope_text,
    write_qwen2vl,
)
from umad import nano
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.projector import Projector, ProjectorOptions, loaded
from umad.errors import BadRequest
from umad.request import BACKGROUND
from umad.step import StepPlan

MORE = "\n\ndef again():\n    return"


def loop_of(folder: Path, family: str, **settings: int | str) -> MediaLoop:
    text = write_mrope_text(folder / "text.gguf") if family == "qwen2vl" else nano.path()
    projector = FAMILIES[family][0](folder / f"mmproj-{family}.gguf")
    return MediaLoop(text, projector, **settings)


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def loop(tmp_path: Path, family: str) -> Iterator[MediaLoop]:
    made = loop_of(tmp_path, family)
    yield made
    made.close()


def test_an_answer_about_a_medium_has_the_logits_of_llama_cpps_helper(
    loop: MediaLoop, family: str
) -> None:
    medium = FAMILIES[family][1]()
    model = loop.model.tokens
    assert isinstance(model, llama.Model)
    mtmd = loaded(model, ProjectorOptions(path=Path(loop.encoder.facts.path), gpu=False, threads=1))
    context = context_for(model)
    expected = by_helper(mtmd, context, medium)
    context.close()
    mtmd.close()

    found = loop.answer(1, BEFORE, medium, AFTER)

    assert np.abs(found[0] - expected).max() < 0.05, "slices and padding round otherwise"
    assert found[0].argmax() == expected.argmax()


def test_the_second_turn_about_a_medium_encodes_nothing_and_reads_only_what_is_new(
    loop: MediaLoop, family: str
) -> None:
    medium = FAMILIES[family][1]()
    n_first = loop.submit(1, BEFORE, medium, AFTER)
    loop.run()
    n_plans, n_encoded = len(loop.plans), loop.n_encoded

    loop.submit(2, BEFORE, medium, AFTER, MORE)
    loop.run()

    later = loop.plans[n_plans:]
    assert loop.n_encoded == n_encoded == 1
    assert not any(plan.has_media for plan in later)
    assert loop.cached[2] >= n_first - 1


def test_a_shared_medium_gives_the_logits_of_one_that_was_read_alone(
    tmp_path: Path, family: str
) -> None:
    medium = FAMILIES[family][1]()
    alone, shared = loop_of(tmp_path, family), loop_of(tmp_path, family)
    expected = alone.answer(1, BEFORE, medium, AFTER, MORE)

    shared.answer(1, BEFORE, medium, AFTER)
    found = shared.answer(2, BEFORE, medium, AFTER, MORE)

    assert all(
        a.argmax() == b.argmax() and np.abs(a - b).max() < 0.05
        for a, b in zip(expected, found, strict=True)
    )
    alone.close()
    shared.close()


def test_another_image_shares_nothing_behind_the_text_before_it(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, "qwen2vl")
    first = loop.answer(1, BEFORE, image(seed=1), AFTER)

    other = loop.answer(2, BEFORE, image(seed=2), AFTER)
    again = loop.answer(3, BEFORE, image(seed=1), AFTER)

    assert loop.n_encoded == 2
    assert not same(first, other)
    assert first[0].argmax() == again[0].argmax()
    loop.close()


def test_rows_of_a_causal_model_come_in_slices_and_those_of_another_at_once(
    loop: MediaLoop, family: str
) -> None:
    medium = FAMILIES[family][1]()

    loop.answer(1, BEFORE, medium, AFTER)

    (run,) = loop.encoder.layout(medium).runs
    slices = [plan.rows.n_cells for plan in loop.plans if plan.rows is not None]
    assert sum(slices) == run.n_rows
    if not run.causal:
        assert slices == [run.n_rows]
    assert not any(plan.rows is not None and plan.prefill for plan in loop.plans)


def test_a_stream_is_the_same_beside_an_image_that_is_read(tmp_path: Path) -> None:
    alone = loop_of(tmp_path, "gemma3")
    expected = alone.answer(1, BEFORE, n_new=200)
    beside = loop_of(tmp_path, "gemma3")
    beside.submit(1, BEFORE, n_new=200)
    while len(beside.ids[1]) < 3:
        beside.step()

    beside.submit(2, BEFORE, image(), AFTER, lane=BACKGROUND)
    beside.run()

    assert any(plan.decode and plan.has_media for plan in beside.plans)
    assert beside.ids[1] == alone.ids[1]
    assert len(beside.ids[2]) == 4
    assert len(expected) == 200
    alone.close()
    beside.close()


def test_a_request_that_is_taken_up_again_goes_on_as_it_would_have(
    tmp_path: Path, family: str
) -> None:
    """As after a crash: its media and the tokens so far come again."""
    medium = FAMILIES[family][1]()
    whole, again = loop_of(tmp_path, family), loop_of(tmp_path, family)
    whole.answer(1, BEFORE, medium, AFTER, n_new=8)

    again.submit(1, BEFORE, medium, AFTER, n_new=8, resume=whole.ids[1][:3])
    again.run()

    assert again.ids[1] == whole.ids[1][3:]
    whole.close()
    again.close()


@pytest.mark.parametrize("asked_by_another", [False, True])
def test_a_cancelled_request_ends_its_encoder_unless_another_one_waits_for_the_same_rows(
    tmp_path: Path, asked_by_another: bool
) -> None:
    # An encoder of many turns.
    projector = write_qwen2vl(tmp_path / "mmproj.gguf", layers=16)
    loop = MediaLoop(write_mrope_text(tmp_path / "text.gguf"), projector)
    assert isinstance(loop.encoder, Projector)
    gate, medium = loop.encoder._gate, image(560, 560)
    loop.answer(1, BEFORE, image(560, 560, seed=6), AFTER, n_new=2)
    n_nodes = gate.n_asked
    loop.submit(2, BEFORE, medium, AFTER, n_new=2)
    if asked_by_another:
        loop.submit(3, BEFORE, medium, AFTER, n_new=2)
    gate.most_stride = 1
    while loop.step().encode is None or not gate.n_asked:
        pass

    loop.cancel(2)
    loop.run()

    n_ended, n_encoded = gate.n_asked, loop.n_encoded
    again = loop.answer(4, BEFORE, medium, AFTER, n_new=2)
    assert (n_ended < n_nodes) is not asked_by_another
    assert n_encoded == 1 + asked_by_another
    assert loop.n_encoded == 2
    assert len(again) == 2
    assert not loop.ids[2]
    assert len(loop.ids.get(3, ())) == 2 * asked_by_another
    loop.close()


def test_an_image_that_is_larger_than_a_micro_batch_is_refused_before_it_is_computed(
    tmp_path: Path,
) -> None:
    loop = MediaLoop(nano.path(), write_gemma3(tmp_path / "mmproj.gguf"), batch=8, ubatch=8)

    with pytest.raises(BadRequest, match="16 rows, which are computed at once"):
        loop.submit(1, BEFORE, image(), AFTER)
    loop.close()


def test_a_medium_at_the_very_end_is_refused(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, "ultravox")

    with pytest.raises(BadRequest, match="a text must follow"):
        loop.submit(1, BEFORE, FAMILIES["ultravox"][1]())
    loop.close()


def test_an_engine_tells_which_medium_it_computes_before_it_does(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, "gemma3")
    medium = image()
    told: list[str] = []
    loop.desk.tell = told.append

    loop.answer(1, BEFORE, medium, AFTER)
    loop.close()

    # Once for the encoder, and once for its rows.
    assert told == [medium.content_id, "", medium.content_id, ""]


def test_a_stream_goes_on_while_a_large_photo_is_prepared(tmp_path: Path) -> None:
    """Twelve megapixels are scaled down in one call, which nothing can hold."""
    loop = loop_of(tmp_path, "gemma3")
    loop.submit(1, BEFORE, n_new=900)
    while len(loop.ids[1]) < 3:
        loop.step()
    loop.submit(2, BEFORE, image(4000, 3000), AFTER, lane=BACKGROUND)

    while loop.step().encode is None:
        pass
    turns: list[StepPlan] = [loop.plans[-1]]
    while loop.n_encoded == 0:
        turns.append(loop.step())
    loop.run()

    encoding = [plan for plan in turns if plan.encode is not None]
    assert len(encoding) > 2, "it was not prepared and encoded in one turn"
    assert any(plan.decode for plan in turns)
    assert len(loop.ids[2]) == 4
    loop.close()
