"""Reckons the memory of a model part by part, without reading a weight: `umad estimate`.

It is what a load does before it maps a byte (`fitting`), with every part kept apart, and it refuses
nothing: where a load would be refused, the estimate says why. llama.cpp opens the file in the
process that asks, and a broken file may end that process; so `main` is a process of its own, which
`umad.engine.estimates` starts.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from umad.engine.errand import answering
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.context_memory import FileMemory, asked_of_file
from umad.engine.llamacpp.device_room import cells_with_room
from umad.engine.llamacpp.devices import Device, chosen
from umad.engine.llamacpp.draft_model import find_draft
from umad.engine.llamacpp.fitting import checked_parking, prepared
from umad.engine.llamacpp.pool_size import ContextBytes
from umad.engine.llamacpp.projector_file import projector_bytes
from umad.engine.llamacpp.settling import Settled, Settling
from umad.engine.residency import resident_weights
from umad.errors import ModelTooLarge
from umad.estimate import MemoryEstimate
from umad.models.gguf import GgufHeader

# An engine beside weights and context: Python, libraries, the scheduler's tables. Resident memory
# of an engine of nano with 2,048 cells: 90 MB, of which 15 are the model's.
PROCESS_BYTES = 75_000_000
# What each token of a vocabulary takes, in llama.cpp and in umad's tables: 262,144 of Gemma 3 are
# 157 MB.
TOKEN_BYTES = 600
_MOST_CELLS = 2**24  # of the option `ctx_size`
_PAD_CELLS = 256


def estimate(
    options: EngineOptions, devices: tuple[Device, ...], *, projector: Path | None = None
) -> MemoryEstimate:
    """The memory of a model with these options. Raises `ModelLoadFailed` for a file that is broken,
    and never `ModelTooLarge`: what is too large is said in the estimate.

    projector: of a projector that is loaded with it; None for the one that `options` mean.
    """
    path = Path(options.path)
    if projector is not None:
        options = replace(options, engine=replace(options.engine, mmproj=str(projector)))
    draft = find_draft(options)
    draft_bytes = 0 if draft is None else draft.n_bytes
    settling = prepared(replace(options, taken_bytes=options.taken_bytes + draft_bytes), devices)

    def question(file: FileMemory) -> tuple[Settled, ContextBytes]:
        settled = settling.settled(file)
        n_seqs = settled.context.max_seqs
        return settled, settling.context_bytes(file, settled.context, n_seqs)

    engine = options.engine
    settled, context_bytes = asked_of_file(
        path,
        settling.headers,
        question,
        gpu_layers=engine.gpu_layers,
        device=engine.device,
    )
    refused, parking = "", 0
    try:
        parking = checked_parking(settling, settled, path)
    except ModelTooLarge as error:
        refused = error.message
    context, memory = settled.context, settled.memory
    n_seqs = context.max_seqs
    output_bytes = n_seqs * memory.seq_output_bytes
    header = settling.headers[0]
    data_bytes = _data_bytes(settling.headers)
    n_vocab = header.array_lengths.get("tokenizer.ggml.tokens", 0)
    resident = resident_weights(path)
    # The settling keeps the room of a projector free.
    fixed_bytes = settling.weights_bytes + (options.engine.park_bytes or 0)
    return MemoryEstimate(
        path=str(path),
        architecture=header.architecture,
        ctx_tokens=context.n_cells - settled.n_spare,
        trained_tokens=settling.trained_tokens,
        n_streams=settled.n_streams,
        kv_type=settling.kv.name,
        weights_bytes=data_bytes - settling.paged_bytes,
        paged_bytes=settling.paged_bytes,
        cells_bytes=memory.pool_bytes + n_seqs * (memory.seq_bytes - memory.state_bytes),
        windows_bytes=0 if memory.windows is None else memory.windows.bytes(n_seqs),
        states_bytes=n_seqs * memory.state_bytes,
        compute_bytes=memory.working_bytes(n_seqs) - output_bytes,
        output_bytes=output_bytes,
        projector_bytes=projector_bytes(options.projector_path),
        draft_bytes=draft_bytes,
        process_bytes=PROCESS_BYTES + n_vocab * TOKEN_BYTES,
        park_bytes=parking,
        token_bytes=memory.pool_cell_bytes + memory.seq_cell_bytes,
        machine_bytes=settling.available_bytes,
        taken_bytes=options.taken_bytes,
        most_tokens=_on_devices(
            _most_tokens(settling, context_bytes, fixed_bytes), settling, settled
        ),
        resident_bytes=None if resident is None else resident[0],
        refused=refused,
    )


def _most_tokens(settling: Settling, context_bytes: ContextBytes, fixed_bytes: int) -> int:
    """The most cells that have room beside all else. A larger context never takes less."""
    room_bytes = settling.room_bytes - fixed_bytes
    low, high = 0, _MOST_CELLS // _PAD_CELLS
    while low < high:
        middle = (low + high + 1) // 2
        if context_bytes(middle * _PAD_CELLS) <= room_bytes:
            low = middle
        else:
            high = middle - 1
    return low * _PAD_CELLS


def _on_devices(n_cells: int, settling: Settling, settled: Settled) -> int:
    """The cells, or as many as each device has room for."""
    on_devices, memory, context = settled.on_devices, settled.memory, settled.context
    if on_devices is None:
        return n_cells
    cell_bytes = memory.pool_cell_bytes + context.max_seqs * memory.seq_cell_bytes
    kept_bytes = on_devices.kept_bytes + (n_cells - context.n_cells) * cell_bytes
    return cells_with_room(
        replace(on_devices, kept_bytes=kept_bytes),
        settling.devices,
        n_cells=n_cells,
        cell_bytes=cell_bytes,
        fewest=0,
    )


def _data_bytes(headers: Sequence[GgufHeader]) -> int:
    """The bytes of all tensors; the header of a file is read and not kept."""
    return sum(tensor.size_bytes or 0 for header in headers for tensor in header.tensors)


def main() -> int:
    """Answer the one question on stdin."""
    with answering() as errand:
        llama.start()
        options = EngineOptions.from_json(errand.question["options"])
        named = errand.question["projector"]
        projector = None if named is None else Path(named)
        devices = chosen(llama.devices(), options.engine.device)
        errand.answer(estimate(options, devices, projector=projector).as_map())
    return 0


if __name__ == "__main__":
    sys.exit(main())
