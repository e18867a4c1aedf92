"""Describes one call of llama.cpp's quantizer, in its own numbers, and makes it.

Not: which type is chosen (`umad.quantization`), or the process in which it runs (`quantizing`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umad.quantization import QuantizeKind

# llama_ftype of llama.h.
FILE_TYPES: dict[QuantizeKind, int] = {
    "f16": 1,
    "q8_0": 7,
    "q2_k": 10,
    "q3_k_m": 12,
    "q4_k_m": 15,
    "q5_k_m": 17,
    "q6_k": 18,
}
# llama.cpp keeps so many bytes of rows in memory at once; its own default is 8 GiB.
_ROWS_BYTES = 2**28


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeParams:
    """One call."""

    kind: QuantizeKind
    threads: int
    # Only say how large the result would be. Nothing is written.
    dry_run: bool = False
    # Take a source that is quantized already.
    again: bool = False


def call_quantizer(library: Any, source: Path, target: Path, asked: QuantizeParams) -> bool:
    """Write `source` to `target` in another type; False where llama.cpp refuses. Releases the GIL.

    library: the binding, with its structures.
    """
    params = library.llama_model_quantize_default_params()
    params.nthread = asked.threads
    params.ftype = FILE_TYPES[asked.kind]
    params.dry_run = asked.dry_run
    params.allow_requantize = asked.again
    params.max_buf_size = _ROWS_BYTES
    return bool(
        library.llama_model_quantize(str(source).encode(), str(target).encode(), params) == 0
    )
