"""Makes models of other types from one that is there: `variant(source, "q4_0")`.

Speed depends on types and not on the values of the weights. So a source that is quantized already
will do, and the same weights in all types are the same model. llama.cpp's own quantizer does it, in
a process of its own: `python -m bench.requantized SOURCE TARGET TYPE THREADS`. Not for quality:
`umad quantize` takes whole weights, and checks what comes out. Owner: whoever holds the lock
`models`.
"""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

from bench import cache
from bench.errors import BenchError

# llama_ftype of llama.h. MXFP4 is for experts, which most models do not have.
FILE_TYPES = {"f16": 1, "q4_0": 2, "q8_0": 7, "q4_k_m": 15, "iq4_xs": 30}
# Eight billion weights take about ten minutes on two cores.
_MOST_S = 3600.0
# F16 from the smallest source here is four times as large; so much more stays free.
_MOST_GROWTH = 4
_KEPT_FREE_BYTES = 2 * 2**30
_ROWS_BYTES = 2**28


def variant(source: Path, kind: str, *, threads: int) -> Path:
    """The file of these weights as `kind`, written on first use."""
    path = cache.folder("models") / f"{source.stem}-as-{kind}.gguf"
    with cache.exclusive("models"):
        if not path.exists():
            growth = _MOST_GROWTH if kind == "f16" else 1
            _check_disk(path.parent, growth * source.stat().st_size + _KEPT_FREE_BYTES)
            partial = path.with_suffix(".partial")
            _asked(source, partial, kind, threads)
            partial.rename(path)
    return path


def _check_disk(folder: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise BenchError(
            f"{folder} has {free / 2**30:.1f} GiB free, and {n_bytes / 2**30:.1f} may be needed;"
            " name fewer --sizes or --types"
        )


def _asked(source: Path, target: Path, kind: str, threads: int) -> None:
    command = [sys.executable, "-m", "bench.requantized", str(source), str(target), kind]
    try:
        run = subprocess.run(
            [*command, str(threads)],
            cwd=Path(__file__).resolve().parent.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=_MOST_S,
        )
    except subprocess.TimeoutExpired as error:
        target.unlink(missing_ok=True)
        raise BenchError(f"{source} was not {kind} after {_MOST_S:.0f} s") from error
    if run.returncode:
        target.unlink(missing_ok=True)
        lines = run.stderr.strip().splitlines() or [f"exit code {run.returncode}"]
        raise BenchError(f"{source} cannot be written as {kind}: {lines[-1]}")


def main() -> None:
    """The child: one file."""
    # Here, so that whoever only wants a path has no llama.cpp in its own process.
    import llama_cpp.llama_cpp as lib  # noqa: PLC0415, TID251  (umad's ladder has fewer types)

    source, target, kind, threads = sys.argv[1:]
    log = lib.llama_log_callback(lambda _level, _text, _data: None)
    lib.llama_log_set(log, ctypes.c_void_p())
    lib.llama_backend_init()
    params = lib.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[kind]
    params.nthread = int(threads)
    params.allow_requantize = True
    params.max_buf_size = _ROWS_BYTES
    if lib.llama_model_quantize(source.encode(), target.encode(), params):
        sys.exit("llama.cpp refuses")


if __name__ == "__main__":
    main()
