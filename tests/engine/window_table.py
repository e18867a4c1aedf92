"""Prints what the context of models with sliding windows takes, beside llama-server's.

`make window-table` runs it. Nothing is downloaded and no weights are read: llama.cpp is asked with
the models' published shapes (`real_models`). Not a test.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from tests.engine.header_model import header_model
from tests.engine.real_models import REAL_MODELS, RealModel
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.context_memory import ContextMemory, context_memory, read_log
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.llama import Context, Model
from umad.engine.llamacpp.stream_count import MOST_STREAMS, stream_count

NAMES = ("Gemma 3 27B", "Gemma 4 31B", "gpt-oss 120B")
CELLS = (2**15, 2**17)
F16 = 1
# llama-server's defaults: slots that share a context, and the batch they are read in.
SLOTS, SLOT_BATCH = 4, 2048
# The machine whose memory decides about the streams where nobody does.
MACHINE_BYTES = 64 * 10**9
# Parked cells go through a sequence of its own.
N_SCRATCH = 1
OPTIONS = ContextOptions(
    n_cells=CELLS[0],
    max_seqs=MOST_STREAMS + N_SCRATCH,
    batch=512,
    ubatch=512,
    threads=1,
    type_k=F16,
    type_v=F16,
    flash_attention=True,
    swa_full=False,
)


def window_models() -> tuple[RealModel, ...]:
    """The models of the table."""
    return tuple(real for real in REAL_MODELS if real.name in NAMES)


def reckoned(model: Model, options: ContextOptions) -> ContextMemory:
    """What umad reckons with."""
    memory = context_memory(model, options)
    assert memory is not None
    return memory


def said_bytes(model: Model, options: ContextOptions) -> int:
    """The bytes of cells that llama.cpp's log says of exactly this context."""
    with llama.listening() as lines:
        Context(model, options).close()
    memory = read_log(lines, n_cells=options.n_cells)
    return memory.kept_bytes(options.max_seqs)


def main() -> None:
    """Print a table in Markdown."""
    llama.start()
    print(
        f"| | cells | llama-server, {SLOTS} slots | umad, 1 stream | {SLOTS} streams "
        f"| default, {MACHINE_BYTES // 10**9} GB machine | windows as large as the pool |"
    )
    print("|---|---|---|---|---|---|---|")
    for real in window_models():
        with tempfile.TemporaryDirectory() as folder:
            model = header_model(Path(folder), real.architecture, real.own)
        for n_cells in CELLS:
            print(row(real.name, model, n_cells))
        model.close()


def row(name: str, model: Model, n_cells: int) -> str:
    """One model with a pool of one size."""
    options = replace(OPTIONS, n_cells=n_cells)
    server = replace(options, max_seqs=SLOTS, batch=SLOT_BATCH)
    memory = reckoned(model, options)
    streams = stream_count(
        None,
        seq_bytes=memory.seq_bytes,
        n_scratch=N_SCRATCH,
        left_bytes=MACHINE_BYTES // 2,
        machine_bytes=MACHINE_BYTES,
        windows=memory.windows,
    )
    figures = [
        said_bytes(model, server),
        memory.kept_bytes(1 + N_SCRATCH),
        memory.kept_bytes(SLOTS + N_SCRATCH),
        memory.kept_bytes(streams + N_SCRATCH),
        reckoned(model, replace(options, swa_full=True)).kept_bytes(streams + N_SCRATCH),
    ]
    cells = [f"{one / 1e9:.1f} GB" for one in figures]
    cells[3] += f" ({streams} streams)"
    return f"| {name} | {n_cells:,} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
