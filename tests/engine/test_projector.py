"""Media become rows, and the rows give the logits that llama.cpp's own helper gives."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.engine.media_context import by_hand, by_helper, context_for
from tests.engine.projector_files import (
    FAMILIES,
    image,
    sound,
    write_gemma3,
    write_mrope_text,
    write_qwen2vl,
    write_ultravox,
)
from umad import nano
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.mtmd import NO_LIMITS, MediaLimits
from umad.engine.llamacpp.projector import Projector, ProjectorOptions, loaded
from umad.engine.llamacpp.projector_file import checked_header, fingerprint, tensor_bytes
from umad.engine.media.facts import MediaFacts
from umad.engine.media.rows import Rows
from umad.engine.process import TENTH_OF_A_CORE
from umad.errors import BadRequest, ModelLoadFailed
from umad.media.limits import GENTLE_S
from umad.media.medium import Medium

LATE_NS = 10**8
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority here")


class Seen:
    """A text model with a projector, which is loaded twice: for the helper, and as it is served."""

    def __init__(self, text: Path, file: Path, *, limits: MediaLimits = NO_LIMITS) -> None:
        llama.start()
        self.model = llama.Model(str(text), gpu_layers=0)
        options = ProjectorOptions(path=file, gpu=False, threads=1, limits=limits)
        self.mtmd = mtmd = loaded(self.model, options)
        header = checked_header(file)
        facts = MediaFacts(
            path=str(file),
            size_bytes=tensor_bytes(header),
            fingerprint=fingerprint(file, header),
            vision=mtmd.vision,
            audio=mtmd.audio,
            sample_rate=mtmd.sample_rate,
            mrope=mtmd.mrope,
            non_causal=mtmd.non_causal,
        )
        self.projector = Projector(self.model, options, facts, now_ns=time.perf_counter_ns)

    def rows(self, medium: Medium, *, turn_ns: int = 10**9) -> list[Rows]:
        found = []
        for run in self.projector.layout(medium).runs:
            work = self.projector.begin(medium, run.index, gently=False)
            while not work.go_on(turn_ns, LATE_NS):
                pass
            found.append(work.rows())
            work.close()
        return found

    def close(self) -> None:
        self.projector.close()
        self.mtmd.close()
        self.model.close()


def seen(folder: Path, family: str) -> Seen:
    file = FAMILIES[family][0](folder / f"mmproj-{family}.gguf")
    text = write_mrope_text(folder / "text.gguf") if family == "qwen2vl" else nano.path()
    return Seen(text, file)


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(tmp_path: Path, family: str) -> Iterator[Seen]:
    made = seen(tmp_path, family)
    yield made
    made.close()


def test_rows_give_the_logits_of_llama_cpps_own_helper_bit_for_bit(
    model: Seen, family: str
) -> None:
    medium = FAMILIES[family][1]()
    layout = model.projector.layout(medium)
    context = context_for(model.model)
    expected = by_helper(model.mtmd, context, medium)

    rows = model.rows(medium)
    found = by_hand(model.model, context, layout, rows, mrope=model.mtmd.mrope)

    assert np.isfinite(expected).all()
    assert (found == expected).all()
    other = [np.flip(one, axis=0).copy() for one in rows]
    moved = by_hand(model.model, context, layout, other, seq=2, mrope=model.mtmd.mrope)
    assert (moved != expected).any(), "or the rows would not matter"
    context.close()


@pytest.mark.parametrize("family", ["qwen2vl", "ultravox"])
def test_rows_of_a_causal_model_may_be_computed_in_slices(tmp_path: Path, family: str) -> None:
    model = seen(tmp_path, family)
    medium = FAMILIES[family][1]()
    layout = model.projector.layout(medium)
    rows = model.rows(medium)
    context = context_for(model.model)

    whole = by_hand(model.model, context, layout, rows, mrope=model.mtmd.mrope)
    sliced = by_hand(
        model.model, context, layout, rows, seq=2, slice_rows=7, mrope=model.mtmd.mrope
    )

    assert np.abs(whole - sliced).max() < 0.05
    assert whole.argmax() == sliced.argmax()
    context.close()
    model.close()


def test_an_encoder_that_is_held_again_and_again_makes_the_same_rows(
    model: Seen, family: str
) -> None:
    medium = FAMILIES[family][1]()
    gate = model.projector._gate

    whole = model.rows(medium)
    n_before = gate.n_holds
    gate.most_stride = 1
    held = model.rows(medium, turn_ns=1)

    assert all((one == other).all() for one, other in zip(whole, held, strict=True))
    assert gate.n_holds > n_before + 20, "every node is a place to hold at"


def test_an_encoder_computes_nothing_while_it_is_held(tmp_path: Path) -> None:
    model = seen(tmp_path, "gemma3")
    gate = model.projector._gate
    gate.most_stride = 1
    work = model.projector.begin(image(), 0, gently=True)

    # A turn this short may end before the encoder's thread has begun.
    while not gate.n_asked:
        assert not work.go_on(1, LATE_NS)
    n_asked = gate.n_asked
    # The library asks of the next node as soon as it may compute.
    time.sleep(0.05)

    assert 0 < gate.n_asked == n_asked
    work.close()
    assert gate.n_asked <= n_asked + 1, "it ends where it was held"
    model.close()


@needs_linux
@pytest.mark.parametrize("gently", [True, False])
def test_an_encoder_beside_readers_leaves_most_of_the_cores_to_their_steps(
    tmp_path: Path, gently: bool
) -> None:
    model = seen(tmp_path, "gemma3")
    model.projector._gate.most_stride = 1
    work = model.projector.begin(image(), 0, gently=gently)
    while not model.projector._gate.n_asked:
        assert not work.go_on(1, LATE_NS)

    priorities = {
        os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in os.listdir("/proc/self/task")
    }

    usual = os.getpriority(os.PRIO_PROCESS, 0)
    assert priorities == ({usual, TENTH_OF_A_CORE} if gently else {usual})
    work.close()
    model.close()


def test_an_encoding_that_was_ended_leaves_nothing_to_the_next_one(
    model: Seen, family: str
) -> None:
    medium = FAMILIES[family][1]()
    whole = model.rows(medium)
    work = model.projector.begin(medium, 0, gently=True)
    model.projector._gate.most_stride = 1
    while not model.projector._gate.n_asked:
        assert not work.go_on(1, LATE_NS)

    assert work.stop(10**9)
    work.close()

    again = model.rows(medium)
    assert all((one == other).all() for one, other in zip(whole, again, strict=True))


def test_a_layout_is_known_without_pixels(model: Seen, family: str) -> None:
    medium = FAMILIES[family][1]()

    with model.mtmd.chunks(medium, pixels=True) as chunks:
        found = [
            (one.n_rows, one.n_positions, None if one.tokens is None else one.tokens.tolist())
            for one in chunks
        ]

    without = [
        (0, 0, piece.tokens.tolist())
        if hasattr(piece, "tokens")
        else (piece.n_rows, piece.n_positions, None)
        for piece in model.projector.layout(medium).pieces
    ]
    assert without == [(0, 0, text) if text is not None else (n, p, None) for n, p, text in found]


def test_a_twelve_megapixel_image_is_as_many_tokens_as_the_limit_allows(tmp_path: Path) -> None:
    file = write_qwen2vl(tmp_path / "mmproj.gguf")
    text = write_mrope_text(tmp_path / "text.gguf")
    model = Seen(text, file, limits=MediaLimits(most_tokens=64))
    photo = image(4000, 3000)

    layout = model.projector.layout(photo)

    (run,) = layout.runs
    assert 32 <= run.n_rows <= 64
    assert run.n_positions < run.n_rows, "an image has as many positions as its longer side"
    model.close()


def test_places_of_an_image_are_its_rows_and_columns(tmp_path: Path) -> None:
    model = seen(tmp_path, "qwen2vl")

    (run,) = model.projector.layout(image(140, 84)).runs

    assert run.places is not None
    width = int(run.places[2].max()) + 1
    assert run.places[0].tolist() == [0] * run.n_rows
    assert run.places[1].tolist() == [at // width for at in range(run.n_rows)]
    assert run.places[2].tolist() == [at % width for at in range(run.n_rows)]
    assert run.n_positions == max(width, run.n_rows // width)
    model.close()


def test_a_projector_of_another_model_is_refused_in_one_line(tmp_path: Path) -> None:
    file = write_gemma3(tmp_path / "mmproj.gguf", width=320)
    llama.start()
    model = llama.Model(str(nano.path()), gpu_layers=0)
    options = ProjectorOptions(path=file, gpu=False, threads=1)

    with pytest.raises(ModelLoadFailed) as refused:
        loaded(model, options)

    assert refused.value.message == (
        f"{file} is the projector of another model: its rows have 320 numbers, and this model's "
        "have 256"
    )
    model.close()


def test_a_file_that_is_no_projector_is_refused_before_llama_cpp_sees_it(tmp_path: Path) -> None:
    whole = write_ultravox(tmp_path / "whole.gguf").read_bytes()
    cut = tmp_path / "mmproj-cut.gguf"
    cut.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(ModelLoadFailed, match="is no projector: it is a model of llama"):
        checked_header(nano.path())
    with pytest.raises(ModelLoadFailed, match="is cut short"):
        checked_header(cut)


def test_a_medium_of_a_kind_that_the_model_cannot_take_is_refused(tmp_path: Path) -> None:
    sees, hears = seen(tmp_path, "gemma3"), seen(tmp_path, "ultravox")

    with pytest.raises(BadRequest, match="does not hear sounds"):
        sees.projector.layout(sound())
    with pytest.raises(BadRequest, match="does not see images"):
        hears.projector.layout(image())
    other_rate = Medium(kind="audio", content_id="0" * 64, data=b"\0" * 400, samples=100, rate=8000)
    with pytest.raises(BadRequest, match="8000 samples a second; this model hears 16000"):
        hears.projector.layout(other_rate)
    sees.close()
    hears.close()


def test_a_projector_is_loaded_by_the_first_medium_and_again_after_it_was_given_back(
    tmp_path: Path,
) -> None:
    model = seen(tmp_path, "gemma3")
    before = model.projector.is_loaded

    first = model.rows(image())
    assert model.projector.is_loaded
    model.projector.close()
    assert not model.projector.is_loaded
    again = model.rows(image())

    assert not before
    assert (first[0] == again[0]).all()
    model.close()


def test_two_projectors_of_one_shape_have_two_fingerprints(tmp_path: Path) -> None:
    files = [write_gemma3(tmp_path / f"{seed}.gguf", seed=seed) for seed in (1, 2)]

    one, other = [fingerprint(file, checked_header(file)) for file in files]

    assert one != other


def test_an_encoding_that_fails_says_so_and_the_next_one_works(tmp_path: Path) -> None:
    model = seen(tmp_path, "gemma3")
    # The medium has no second run, as one would have whose layout was made by other limits.
    work = model.projector.begin(image(), 1, gently=True)

    with pytest.raises(BadRequest, match="this image could not be encoded"):
        work.go_on(10**9, LATE_NS)
    work.close()

    assert model.rows(image())[0].shape == (16, 256)
    model.close()


def test_a_turn_ends_while_pixels_are_still_made_into_what_the_encoder_reads(
    tmp_path: Path,
) -> None:
    model = seen(tmp_path, "gemma3")
    photo = image(4000, 3000)

    work = model.projector.begin(photo, 0, gently=True)
    is_done = work.go_on(1, LATE_NS)
    while not work.go_on(10**9, LATE_NS):
        pass
    rows = work.rows()
    work.close()

    assert not is_done
    assert (rows == model.rows(photo)[0]).all()
    model.close()


BUSY = "import sys; sys.stdout.write('on\\n'); sys.stdout.flush()\nwhile True: pass"
# Twelve megapixels take some tenths of a second of a core.
WORK_S = 15.0


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """Inside, two programs that compute for ever run for each core, at the usual priority."""
    command = (sys.executable, "-c", BUSY)
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == b"on\n"
        yield
    finally:
        for process in running:
            process.kill()
            process.communicate()


def encoded_s(model: Seen, medium: Medium, *, gently: bool) -> tuple[float, Rows]:
    """(seconds until a medium was encoded, its rows)."""
    began_s = time.monotonic()
    work = model.projector.begin(medium, 0, gently=gently)
    while not work.go_on(10**9, LATE_NS):
        pass
    took_s = time.monotonic() - began_s
    rows = work.rows()
    work.close()
    return took_s, rows


def threads_on_idle_cores() -> int:
    return sum(one.name == "umad-pixels" for one in threading.enumerate())


@needs_linux
def test_pixels_that_no_core_is_left_for_are_made_as_usual_after_a_while(tmp_path: Path) -> None:
    model = seen(tmp_path, "gemma3")
    photo, other = image(4000, 3000, seed=1), image(4000, 3000, seed=2)
    expected = [model.rows(one)[0] for one in (photo, other)]

    with busy_cores():
        took_s, rows = encoded_s(model, photo, gently=True)
        n_left = threads_on_idle_cores()
        next_s, next_rows = encoded_s(model, other, gently=True)
        n_left_then = threads_on_idle_cores()

    assert GENTLE_S <= took_s < GENTLE_S + WORK_S, "idle cores were tried, and not for ever"
    assert next_s < GENTLE_S + WORK_S
    assert max(n_left, n_left_then) <= 1, "each leaves a thread with its memory"
    assert (rows == expected[0]).all()
    assert (next_rows == expected[1]).all()
    model.close()
    assert not threads_on_idle_cores(), "the projector is freed when nobody uses it any more"


@needs_linux
def test_pixels_beside_nobody_are_made_at_the_usual_priority(tmp_path: Path) -> None:
    model = seen(tmp_path, "gemma3")

    with busy_cores():
        took_s, _ = encoded_s(model, image(4000, 3000), gently=False)
        assert not threads_on_idle_cores()

    assert took_s < WORK_S
    model.close()
