"""Writes LoRA adapters with random weights for a model.

    python -m bench.random_adapters MODEL FOLDER

Each changes two matrices of every layer, one of attention and one of the network behind it, at the
rank that is asked for. What a model says under them does not matter: they are for measuring what
adapters cost. The same model and seed make the same file. Not: trained ones, whose answers are
recognised (`umad.nano.train.adapters`). Owner: the caller.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

from bench import command, models
from umad.models.files import stem_of
from umad.models.gguf import GgufHeader, read_header

NAMES = ("one", "two")
RANK = 8
_CHANGED = re.compile(r"blk\.\d+\.(?:attn_output|ffn_down)\.weight")
# What the adapter adds is about a twentieth of what its matrix makes: the model still writes.
_STRENGTH = 0.05


def write(model: Path, target: Path, *, seed: int, rank: int = RANK) -> None:
    """Write one adapter of `model` to `target`, whole or not at all."""
    header = read_header(model)
    drawn = np.random.default_rng(seed)
    partial = target.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, header.architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    writer.add_string("general.base_model.0.name", _title(model, header))
    for tensor in header.tensors:
        if not _CHANGED.fullmatch(tensor.name):
            continue
        n_in, n_out = tensor.shape
        a = drawn.normal(0.0, n_in**-0.5, (rank, n_in))
        b = drawn.normal(0.0, _STRENGTH * rank**-0.5, (n_out, rank))
        writer.add_tensor(f"{tensor.name}.lora_a", a.astype(np.float32))
        writer.add_tensor(f"{tensor.name}.lora_b", b.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(target)


def both(model: Path, folder: Path, *, rank: int = RANK) -> tuple[Path, ...]:
    """The files of two adapters of `model`, made on first use."""
    paths = tuple(folder / f"{stem_of(model)}-r{rank}-{name}.gguf" for name in NAMES)
    for seed, path in enumerate(paths):
        if not path.exists():
            write(model, path, seed=seed, rank=rank)
    return paths


def _title(model: Path, header: GgufHeader) -> str:
    said = header.metadata.get("general.name")
    return said if isinstance(said, str) and said else stem_of(model)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.random_adapters", description=__doc__)
    parser.add_argument("model", help="a shape, nano, or the path of a GGUF")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rank", type=command.positive, default=RANK)
    told = parser.parse_args(arguments)
    told.folder.mkdir(parents=True, exist_ok=True)
    for path in both(models.path(told.model), told.folder, rank=told.rank):
        print(path)  # noqa: T201  (the command's answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
