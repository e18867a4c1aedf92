"""Quantizes a model's file, tells sizes beforehand, and checks a result: llama.cpp's part of it.

The quantizer of llama.cpp has no callback that could stop it, and it leaves half a file where it
fails. So it runs in a process of its own that can be killed (`main`), and writes to a name that
`umad.engine.quantizer` chooses, moves or removes. Progress is read from llama.cpp's log. Owner: the
main thread.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from umad.config import EngineSettings
from umad.engine.errand import Answering, answering
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.context_memory import asked_of_file
from umad.engine.llamacpp.fitting import prepared
from umad.engine.llamacpp.llama import LlamaError
from umad.engine.llamacpp.memory_check import mb
from umad.engine.llamacpp.perplexity import perplexity
from umad.engine.llamacpp.pool_size import MODEL_SHARE
from umad.engine.llamacpp.quantize_call import QuantizeParams
from umad.engine.llamacpp.settling import Settled
from umad.engine.llamacpp.stream_count import FEW_STREAMS
from umad.engine.process import decode_threads, let_others_first
from umad.errors import BadRequest, ModelLoadFailed, ModelTooLarge
from umad.estimate import bytes_words
from umad.models.files import whole_headers
from umad.models.gguf import GgufHeader, read_header
from umad.models.positions import trained_tokens
from umad.quantization import AUTO_TOKENS, LADDER, QuantizeKind, QuantizeProgress, SizeTold

# ggml's numbers of the types that a source may have: nothing was taken from its weights yet.
_WHOLE_TYPES = {0: "F32", 1: "F16", 30: "BF16"}
_MIB = 2**20
# A disk with less room than this has no room: file systems keep some for themselves.
_FULL_BYTES = 2**24
# llama-quant.cpp. A line of progress is complete when its tensor is done.
_PROGRESS = re.compile(r"^\[ *(\d+)/ *(\d+)\]")
_SIZE = re.compile(r"quant size += +([\d.]+) MiB")


def told_sizes(source: Path, kinds: Sequence[QuantizeKind], *, again: bool) -> list[SizeTold]:
    """The sizes that the results would have. Nothing is read but headers (0.03 s each).

    again: the source may be quantized already. Raises `ModelLoadFailed`, `BadRequest`.
    """
    headers = whole_headers(source)
    if not again:
        _check_is_whole(source, headers)
    source_bytes = sum(header.file_bytes for header in headers)
    data_bytes = sum(header.needed_bytes - header.data_at for header in headers)
    told = []
    for kind in kinds:
        with llama.listening() as lines:
            _quantize(
                source, source, QuantizeParams(kind=kind, threads=1, dry_run=True, again=again)
            )
        found = [float(match[1]) for line in lines if (match := _SIZE.search(line))]
        if not found:
            raise ModelLoadFailed("this llama.cpp does not say how large a result would be")
        # The log has two decimals. The header stays as long as it is.
        target_bytes = round(found[0] * _MIB) + source_bytes - data_bytes
        told.append(SizeTold(kind=kind, source_bytes=source_bytes, target_bytes=target_bytes))
    return told


def fitting_kind(source: Path, sizes: Sequence[SizeTold]) -> SizeTold:
    """The first of `sizes` whose model fits this machine with a context of `AUTO_TOKENS`, or of its
    longest text where that is shorter. Raises `ModelTooLarge`, with the figures, where none does.
    """
    header = whole_headers(source)[0]
    n_tokens = min(AUTO_TOKENS, trained_tokens(header) or AUTO_TOKENS)
    engine = EngineSettings(ctx_size=max(256, n_tokens), max_seqs=FEW_STREAMS)
    settling = prepared(
        EngineOptions(name=source.stem, path=str(source), engine=engine), llama.devices()
    )
    settled: Settled = asked_of_file(
        source, settling.headers, settling.settled, gpu_layers=engine.gpu_layers
    )
    n_seqs, memory = settled.context.max_seqs, settled.memory
    context_bytes = memory.kept_bytes(n_seqs) + memory.working_bytes(n_seqs)
    room_bytes = int(MODEL_SHARE * settling.available_bytes)
    for told in sizes:
        if told.target_bytes + context_bytes <= room_bytes:
            return told
    last = sizes[-1]
    raise ModelTooLarge(
        f"{source} needs {mb(last.target_bytes)} as {last.kind} and {mb(context_bytes)} for "
        f"{n_tokens:,} tokens; models may take {mb(room_bytes)} of this machine's "
        f"{mb(settling.available_bytes)}: choose a smaller model"
    )


def write(
    source: Path,
    target: Path,
    kind: QuantizeKind,
    *,
    again: bool,
    on_progress: Callable[[QuantizeProgress], None],
) -> int:
    """Write `source` as `kind` to `target`, which is on the disk when this returns. Returns its
    bytes. Raises `ModelLoadFailed`, or `BadRequest` for a full disk; then half of it may lie there.
    """

    def heard(line: str) -> None:
        if found := _PROGRESS.search(line):
            on_progress(QuantizeProgress(done=int(found[1]), total=int(found[2])))

    params = QuantizeParams(kind=kind, threads=decode_threads(), again=again)
    try:
        with llama.listening(heard):
            _quantize(source, target, params)
    except ModelLoadFailed as error:
        # llama.cpp says "iostream error" then.
        if shutil.disk_usage(target.parent).free < _FULL_BYTES:
            raise BadRequest(f"{target.parent} became full while the file was written") from error
        raise
    with target.open("rb") as file:
        os.fsync(file.fileno())
    header = read_header(target)
    if header.needed_bytes > header.file_bytes:
        raise ModelLoadFailed(f"{target} was written in part; is the disk full?")
    return header.file_bytes


def _quantize(source: Path, target: Path, params: QuantizeParams) -> None:
    try:
        llama.quantize(source, target, params)
    except LlamaError as error:
        raise ModelLoadFailed(f"{source} cannot be quantized to {params.kind}: {error}") from error


def _check_is_whole(source: Path, headers: Sequence[GgufHeader]) -> None:
    """Raise `BadRequest` for a source of which something was taken already."""
    for header in headers:
        for tensor in header.tensors:
            if len(tensor.shape) > 1 and tensor.type_number not in _WHOLE_TYPES:
                raise BadRequest(
                    f"{source} is quantized already, and once more would lose more; take the F16, "
                    "BF16 or F32 file of this model",
                    field="source",
                )


def _check_disk(folder: Path, n_bytes: int, kept_free_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < n_bytes + kept_free_bytes:
        raise BadRequest(
            f"{folder} has {bytes_words(free)} free; the file takes {bytes_words(n_bytes)}, and "
            f"{bytes_words(kept_free_bytes)} are to stay free"
        )


def _size(question: Mapping[str, Any]) -> SizeTold:
    source, wish, again = Path(question["source"]), question["kind"], question["again"]
    if wish == "auto":
        kinds = [rung.kind for rung in LADDER]
        return fitting_kind(source, told_sizes(source, kinds, again=again))
    return told_sizes(source, [wish], again=again)[0]


def _all(errand: Answering) -> dict[str, Any]:
    question = errand.question
    source, target = Path(question["source"]), Path(question["target"])
    told = _size(question)
    errand.news(size=asdict(told))
    _check_disk(target.parent, told.target_bytes, question["kept_free"])

    def on_progress(progress: QuantizeProgress) -> None:
        errand.news(**asdict(progress))

    n_bytes = write(source, target, told.kind, again=question["again"], on_progress=on_progress)
    return {
        "kind": told.kind,
        "n_bytes": n_bytes,
        # The result first: where it cannot be loaded, the larger source need not be read.
        "result_perplexity": perplexity(target),
        "source_perplexity": perplexity(source),
    }


def main() -> int:
    """Tell a size, or do all, as stdin asks for."""
    with answering() as errand:
        # Engines that serve go first.
        let_others_first()
        llama.start()
        is_size = errand.question["do"] == "size"
        errand.answer(asdict(_size(errand.question)) if is_size else _all(errand))
    return 0


if __name__ == "__main__":
    sys.exit(main())
