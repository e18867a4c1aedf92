"""What a load holds, by llama.cpp's own account of a context that was really made. Not a test.

The account (`breakdown`) has everything but the rows of output, which the log tells.
"""

import re
from pathlib import Path
from typing import Any

from tests.engine.breakdown import breakdown
from umad.config import EngineSettings
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.fitting import fit
from umad.engine.llamacpp.llama import Context, Model
from umad.estimate import MemoryEstimate

_OUTPUT = re.compile(r" output buffer size = +([\d.]+) MiB")

# Weights, what is kept of texts, and what a step works in.
Parts = tuple[int, int, int]


def options_of(path: Path, **settings: Any) -> EngineOptions:
    asked = {"ctx_size": 8192, "max_seqs": 4, "gpu_layers": 0, "threads": 1, **settings}
    return EngineOptions(name="model", path=str(path), engine=EngineSettings(**asked))


def held_bytes(options: EngineOptions) -> Parts:
    """What a load then holds: weights, what is kept of texts, and what a step works in."""
    fitting = fit(options, ())
    model = Model(options.path, gpu_layers=0)
    with llama.listening() as lines:
        context = Context(model, fitting.context)
    found = breakdown(context)
    context.close()
    model.close()
    output = sum(float(match[1]) for line in lines if (match := _OUTPUT.search(line)))
    return found.model, found.context, found.compute + round(output * 2**20)


def told_bytes(told: MemoryEstimate) -> Parts:
    return (
        told.weights_bytes,
        told.cells_bytes + told.windows_bytes + told.states_bytes,
        told.compute_bytes + told.output_bytes,
    )
