"""Decodes on a Vulkan device, in this process: right logits, and steps that are cut."""

import re
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from umad import nano
from umad.clock import MonotonicClock
from umad.config import EngineSettings
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.context_memory import asked_of_file
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.cuttable import ABORTED, decode_cuttable
from umad.engine.llamacpp.device_room import check_devices
from umad.engine.llamacpp.fitting import prepared
from umad.engine.llamacpp.gate import MOST_SHARE, Gate
from umad.engine.llamacpp.gate_trial import abort_flag_for, try_gate
from umad.engine.llamacpp.kv_types import KV_TYPES
from umad.engine.llamacpp.output_memory import output_memory
from umad.engine.llamacpp.vulkan_driver import vulkan_drivers, why_too_old
from umad.errors import ModelTooLarge
from umad.models.files import whole_headers

# The first decode of a process compiles its shaders: 40 s on two cores.
pytestmark = pytest.mark.timeout(900)
# So few that llama.cpp leaves them to the processor where it has the weights.
FEW_ROWS, ROWS = 24, 256
TOKENS = (3 + np.arange(2 * ROWS) ** 2 % 4000).astype(np.int32)
CLOCK = MonotonicClock()
# From the library's tests of the CPU's own kernels: another kernel adds in another order.
NEAR = 0.15


def new_context(model: llama.Model) -> llama.Context:
    f16 = KV_TYPES["f16"].number
    options = ContextOptions(
        n_cells=1024,
        max_seqs=3,
        batch=ROWS,
        ubatch=ROWS,
        threads=2,
        type_k=f16,
        type_v=f16,
        flash_attention=True,
    )
    return llama.Context(model, options, abort=abort_flag_for(llama.devices()))


@pytest.fixture(scope="module", autouse=True)
def started() -> None:
    """llama.cpp says in its log where weights lie. It has to be heard before a model is opened."""
    llama.start()


@pytest.fixture(scope="module")
def context() -> Iterator[llama.Context]:
    model = llama.Model(str(nano.path()), gpu_layers=-1)
    context = new_context(model)
    yield context
    context.close()
    model.close()


@pytest.fixture(scope="module")
def gate(context: llama.Context) -> Gate:
    found = context.abort_flag.gate
    assert found is not None
    try_gate(context, found, token=0, now_ns=CLOCK.now_ns)
    return found


def batch_of(n_rows: int, *, start: int = 0) -> llama.Batch:
    batch = llama.Batch(ROWS)
    batch.token[:n_rows] = TOKENS[start : start + n_rows]
    batch.pos[:n_rows] = np.arange(start, start + n_rows)
    batch.seq[:n_rows] = 0
    batch.wants_logits[n_rows - 1] = 1
    batch.set_rows(n_rows)
    return batch


def logits(context: llama.Context, n_rows: int, step_ms: float = 0.0) -> NDArray[np.float32]:
    context.clear()
    assert decode_cuttable(context, batch_of(n_rows), step_ms) == 0
    found: NDArray[np.float32] = context.logits(1)[0].copy()
    return found


def timed_ms(context: llama.Context, n_rows: int, step_ms: float = 0.0) -> float:
    began_ns = CLOCK.now_ns()
    logits(context, n_rows, step_ms)
    return (CLOCK.now_ns() - began_ns) / 1e6


def test_the_library_has_a_vulkan_device() -> None:
    kinds = {(one.backend, one.kind) for one in llama.devices()}

    assert any(backend == "Vulkan" and kind in ("gpu", "igpu") for backend, kind in kinds)


def test_the_driver_tells_its_version_and_is_not_too_old() -> None:
    drivers = vulkan_drivers()

    assert drivers
    assert all(one.name and one.version for one in drivers)
    assert not why_too_old(drivers)


def test_weights_and_cells_lie_on_the_device() -> None:
    """A device that is listed is not yet one that computes."""
    with llama.listening() as lines:
        model = llama.Model(str(nano.path()), gpu_layers=-1)
        new_context(model).close()
        model.close()

    said = "\n".join(lines)
    assert "Vulkan0 model buffer size" in said
    assert "Vulkan0 KV buffer size" in said
    assert output_memory(lines) == "Vulkan_Host", "logits are where the device can write them"


def device_bytes_said(gpu_layers: int, options: ContextOptions) -> float:
    """What a load puts on the device, by llama.cpp's log."""
    with llama.listening() as lines:
        model = llama.Model(str(nano.path()), gpu_layers=gpu_layers)
        llama.Context(model, options).close()
        model.close()
    sizes = (re.search(r" Vulkan0 .* buffer size = +([\d.]+) MiB", line) for line in lines)
    return sum(float(one[1]) for one in sizes if one) * 2**20


def test_what_the_device_is_to_hold_is_known_before_and_a_model_without_room_is_refused() -> None:
    engine = EngineSettings(gpu_layers=-1, threads=2, ctx_size=4096, batch=ROWS, ubatch=ROWS)
    asked = EngineOptions(name="nano", path=str(nano.path()), engine=engine)
    settling = prepared(asked, llama.devices())
    settled = asked_of_file(nano.path(), settling.headers, settling.settled, gpu_layers=-1)
    model = settled.on_devices
    assert model is not None
    (need,) = model.needs()

    # The log rounds each size to 0.01 MiB.
    said = device_bytes_said(-1, settled.context)
    assert need.total_bytes == pytest.approx(said, abs=0.05 * 2**20)
    (device,) = (one for one in settling.devices if one.name == "Vulkan0")
    smaller = replace(device, memory_bytes=need.total_bytes - 100_000)
    with pytest.raises(ModelTooLarge, match=r"needs \d+ MB on Vulkan0 .*serve with --gpu-layers"):
        check_devices(model, [smaller], nano.path())
    n_layers = model.fitting_layers([smaller])
    assert n_layers
    assert device_bytes_said(n_layers, settled.context) <= smaller.memory_bytes


def test_logits_are_near_those_of_the_processor(context: llama.Context) -> None:
    here = logits(context, FEW_ROWS)
    model = llama.Model(str(nano.path()), gpu_layers=0)
    there_context = new_context(model)
    there = logits(there_context, FEW_ROWS)
    there_context.close()
    model.close()

    np.testing.assert_allclose(here, there, atol=NEAR)
    assert here.argmax() == there.argmax()


def test_the_gate_finds_the_layers_and_looks_give_the_same_bits(
    context: llama.Context, gate: Gate
) -> None:
    (header,) = whole_headers(nano.path())
    plain = logits(context, ROWS)

    looked_at = logits(context, ROWS, 1e9)

    assert gate.n_layers == header.own("block_count")
    assert gate.n_looks == gate.n_layers - 1, "none at the last layer's end"
    np.testing.assert_array_equal(looked_at, plain)


def test_looks_take_a_hundredth_of_a_step_at_most(context: llama.Context, gate: Gate) -> None:
    step_ms = min(timed_ms(context, ROWS) for _ in range(3))
    logits(context, ROWS, step_ms)

    print(f"step {step_ms:.0f} ms, {gate.n_looks} looks of {gate.look_ms:.2f} ms")
    assert gate.n_looks >= 1
    assert gate.n_looks * gate.look_ms <= 1.1 * MOST_SHARE * step_ms


def test_an_arrival_in_the_middle_of_a_step_has_the_device_after_a_fifth_of_it_at_most(
    context: llama.Context, gate: Gate
) -> None:
    step_ms = min(timed_ms(context, ROWS) for _ in range(3))
    waits_ms = []
    for share in (0.2, 0.35, 0.5, 0.65):
        context.clear()
        asked_ns: list[int] = []

        def arrive(asked_ns: list[int] = asked_ns) -> None:
            asked_ns.append(CLOCK.now_ns())
            context.abort_flag.set()

        timer = threading.Timer(share * step_ms / 1e3, arrive)
        timer.start()
        code = decode_cuttable(context, batch_of(ROWS), step_ms)
        ended_ns = CLOCK.now_ns()
        timer.join()
        context.abort_flag.clear()
        assert code == ABORTED
        assert context.length(0) == 0
        waits_ms.append((ended_ns - asked_ns[0]) / 1e6)

    print(
        f"step {step_ms:.0f} ms, waits {[round(ms) for ms in waits_ms]} ms, "
        f"a look {gate.look_ms:.2f} ms"
    )
    assert max(waits_ms) <= step_ms / 5


def test_what_a_cut_leaves_is_as_it_was_and_the_same_step_gives_the_same_bits(
    context: llama.Context, gate: Gate
) -> None:
    logits(context, ROWS)
    before = context.whole(0)
    assert context.decode(batch_of(ROWS, start=ROWS)) == 0
    undisturbed = context.logits(1)[0].copy()
    assert context.trim(0, ROWS)

    context.abort_flag.set()
    code = decode_cuttable(context, batch_of(ROWS, start=ROWS), 1e9)
    context.abort_flag.clear()

    assert code == ABORTED
    assert context.length(0) == ROWS
    assert context.whole(0) == before
    assert context.decode(batch_of(ROWS, start=ROWS)) == 0
    np.testing.assert_array_equal(context.logits(1)[0], undisturbed)
