"""Tells what a LoRA adapter is from its header: for which model, how large, and when it begins.

    looks_like_adapter   a quick look at the beginning of a file
    read_adapter         the facts of an adapter's file
    memory_bytes         what some adapters take
    misfit               why an adapter does not fit a model, by both headers

An adapter's file is written by llama.cpp's `convert_lora_to_gguf.py`: two small matrices, A and B,
for each weight that it changes. It says of which architecture its model is, and mostly the model's
name. An *activated* adapter (aLoRA, arXiv 2504.12397) changes only what stands from some tokens on,
its invocation; what stands before is the model's own.
The file may be anybody's download, so it is held against the model before llama.cpp sees it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from umad.errors import ModelLoadFailed
from umad.models.gguf import GgufHeader, read_header
from umad.models.places.listing import read_small

# The keys before a vocabulary, which an adapter does not have.
_LOOK_BYTES = 65_536
# Matrices lie one behind the other, at the next multiple of 32 bytes.
_MOST_GAP_BYTES = 4096
# The key `general.type`, the number of the type string, and the string "adapter", as GGUF has them.
_SAYS_ADAPTER = b"general.type" + (8).to_bytes(4, "little") + (7).to_bytes(8, "little") + b"adapter"
_A, _B = ".lora_a", ".lora_b"
# llama.cpp reads these and leaves them out.
_LEFT_OUT = "_norm.weight"
_EMBEDDING = "token_embd.weight"
# ggml.h, enum ggml_type: whole numbers and 64 bits, which no product of llama.cpp takes. It would
# end the process.
_NO_WEIGHTS = frozenset((24, 25, 26, 27, 28))
# llama.cpp ends the process where an adapter changes an expert's weight of this type.
_NVFP4 = 40
_EXPERTS = re.compile(r"ffn_(?:up|gate|down)(?:_gate)?_exps")
MOST_INVOCATION = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFacts:
    """What the header of an adapter says. A text is empty where it says nothing."""

    # Of the model that it was trained on.
    architecture: str
    # The model's name, as the maker of the adapter wrote it.
    base: str
    # The longest side of its small matrices.
    rank: int
    # Bytes of all its matrices: what it takes in memory.
    size_bytes: int
    # The tokens from which on it acts; none for an adapter that acts on everything.
    invocation: tuple[int, ...] = ()
    # How many weights of the model it changes.
    n_weights: int = 0


def looks_like_adapter(path: Path) -> bool:
    """Whether a file says at its beginning that it is an adapter. Blocks for the disk, briefly."""
    try:
        return _SAYS_ADAPTER in read_small(path, _LOOK_BYTES)
    except OSError:  # also for a pipe, which would keep us waiting
        return False


def read_adapter(path: Path) -> tuple[AdapterFacts, GgufHeader]:
    """The facts of an adapter's file, and its header. Raises `ModelLoadFailed`, in one line, for a
    file that is none, or that llama.cpp should not be given.
    """
    header = read_header(path)
    said = header.metadata.get("general.type")
    if said != "adapter":
        raise ModelLoadFailed(f"{path} is no adapter: it says that it is a {said or 'model'}")
    kind = header.metadata.get("adapter.type")
    if kind != "lora":
        raise ModelLoadFailed(f"{path} is an adapter of the type {kind!r}; only lora is served")
    if header.needed_bytes > header.file_bytes:
        raise ModelLoadFailed(
            f"{path} is cut short: {header.file_bytes} of at least {header.needed_bytes} bytes; "
            "fetch it again"
        )
    facts = adapter_facts(header, path)
    # A file with holes may be of any size, and all of it would be read.
    if header.needed_bytes - header.data_at > facts.size_bytes + _MOST_GAP_BYTES * (
        len(header.tensors) + 1
    ):
        raise ModelLoadFailed(f"{path} is damaged: there are holes between its matrices")
    return facts, header


def adapter_facts(header: GgufHeader, path: Path | None = None) -> AdapterFacts:
    """The facts of an adapter's header. Raises `ModelLoadFailed` for an impossible one."""
    invocation = header.metadata.get("adapter.alora.invocation_tokens", ())
    n_said = header.array_lengths.get("adapter.alora.invocation_tokens", 0)
    if not isinstance(invocation, tuple) or n_said > MOST_INVOCATION:
        raise ModelLoadFailed(f"{path or 'the adapter'} says impossible invocation tokens")
    metadata = header.metadata
    base = metadata.get("general.base_model.0.name") or metadata.get("general.basename") or ""
    pairs = _pairs(header)
    return AdapterFacts(
        architecture=header.architecture,
        base=str(base),
        rank=max((min(a[:2]) for a, _ in pairs.values() if len(a) > 1), default=0),
        size_bytes=sum(tensor.size_bytes or 0 for tensor in header.tensors),
        invocation=tuple(int(token) for token in invocation),
        n_weights=len(pairs),
    )


def memory_bytes(paths: Iterable[Path]) -> int:
    """What adapters take in memory. Raises `ModelLoadFailed` for a file that is none."""
    return sum(read_adapter(path)[0].size_bytes for path in paths)


def misfit(adapter: GgufHeader, model: GgufHeader) -> str:
    """Why llama.cpp cannot use an adapter with a model; empty where nothing speaks against it.

    model: the headers of all its parts together (`umad.models.files.joined`).
    """
    if adapter.architecture != model.architecture:
        return (
            f"it was made for the architecture {adapter.architecture!r}, "
            f"and the model's is {model.architecture!r}"
        )
    shapes = {tensor.name: tensor.shape for tensor in model.tensors}
    types = {tensor.name: tensor.type_number for tensor in model.tensors}
    for tensor in adapter.tensors:
        if tensor.type_number in _NO_WEIGHTS or tensor.size_bytes is None:
            return f"its tensor {tensor.name[:64]!r} is of a type that holds no weights"
        if not tensor.name.endswith((_A, _B, _LEFT_OUT)):
            return f"its tensor {tensor.name[:64]!r} is neither A nor B of a weight"
    pairs = _pairs(adapter)
    n_both = sum(tensor.name.endswith((_A, _B)) for tensor in adapter.tensors)
    if not pairs or 2 * len(pairs) != n_both:
        return "some of its matrices lack their other half"
    for name, (a, b) in pairs.items():
        shape = shapes.get(name)
        if shape is None:
            return f"it changes {name[:64]!r}, which the model does not have"
        if not _fits(a, b, shape, is_embedding=name.endswith(_EMBEDDING)):
            return f"its matrices for {name[:64]!r} have other sides than the model's weight"
        if types[name] == _NVFP4 and _EXPERTS.search(name):
            return f"it changes experts of the type NVFP4 ({name[:64]!r}), which llama.cpp cannot"
    return ""


def _pairs(header: GgufHeader) -> Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """The shapes of A and B, by the name of the weight that they change."""
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    return {
        name.removesuffix(_A): (shape, shapes[f"{name.removesuffix(_A)}{_B}"])
        for name, shape in shapes.items()
        if name.endswith(_A) and f"{name.removesuffix(_A)}{_B}" in shapes
    }


def _fits(
    a: tuple[int, ...], b: tuple[int, ...], weight: tuple[int, ...], *, is_embedding: bool
) -> bool:
    """As `llama_adapter_lora_init_impl` checks it, and that every matrix has two sides at least."""
    a, b, weight = _padded(a), _padded(b), _padded(weight)
    if min(*a, *b) < 1:
        return False
    if is_embedding:
        # A has a row for each token here, and B is not transposed (`llm_build_inp_embd`).
        return weight[0] == b[1] and weight[1] == a[1] and a[0] == b[0]
    # Experts have a third side. llama.cpp does not look at it, and reads behind the end.
    same = a[2:] == b[2:] == weight[2:]
    return weight[0] == a[0] and weight[1] == b[1] and a[1] == b[0] and same


def _padded(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, *(1 for _ in range(4 - len(shape))))
