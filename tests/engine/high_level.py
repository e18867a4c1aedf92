"""Vectors as llama-cpp-python's own high-level interface makes them: python -m
tests.engine.high_level MODEL POOLING CELLS < texts.json > vectors.json

Not a test; a process of its own, so that a test compares with something that shares no code with
umad but llama.cpp itself. With the plain kernels, which the engine uses too: the class takes
repacked ones, has no switch for it, and where those do not work it would die.
"""

import json
import sys
from typing import Any

from llama_cpp import Llama, llama_cpp  # noqa: TID251 - the independent computation

_defaults = llama_cpp.llama_model_default_params


def plain_defaults() -> Any:
    params = _defaults()
    params.use_extra_bufts = False
    return params


def main() -> None:
    path, pooling, cells = sys.argv[1:]
    number = getattr(llama_cpp, f"GGML_TYPE_{cells}")
    texts = json.load(sys.stdin)
    llama_cpp.llama_model_default_params = plain_defaults
    model = Llama(
        path,
        embedding=True,
        pooling_type=getattr(llama_cpp, f"LLAMA_POOLING_TYPE_{pooling.upper()}"),
        n_ctx=512,
        n_batch=512,
        n_ubatch=512,
        n_threads=1,
        n_gpu_layers=0,
        type_k=number,
        type_v=number,
        flash_attn=cells != "F16",  # without it, values are of 16 bits
        verbose=False,
    )
    json.dump([model.embed(text, normalize=False) for text in texts], sys.stdout)


if __name__ == "__main__":
    main()
