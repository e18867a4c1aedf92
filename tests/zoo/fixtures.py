"""Tiny models with random weights, one of each architecture that llama.cpp has a shape for.

llama.cpp's own test (`tests/test-llama-archs.cpp`) makes them; `saved_archs.cpp` writes them to
files. They have no vocabulary of use, so each is given one here: a byte-level BPE of exactly as
many tokens as its embedding has rows, a chat template, and a context longer than the test's 256.
They are kept in the cache folder of the benchmarks (`bench.cache`) and made again when one of these
files or the version of llama.cpp changes.
Not a test. Owner: the process that holds the lock `zoo`.
"""

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter

from bench import cache, peers
from bench.errors import BenchError
from tests.models.byte_vocabulary import add_vocabulary

_HERE = Path(__file__).parent
_SOURCE = _HERE / "saved_archs.cpp"
_LIBRARIES = ("llama", "ggml", "ggml-base", "ggml-cpu")
# With llama.cpp's default of 0.1 every model repeats one token.
_DEVIATION = "0.6"
_ONE_S = 120.0
CONTEXT_TOKENS = 4096

# Metadata that llama.cpp's test has not, for architectures that it leaves out.
_LORA_RANKS = tuple(
    f"attention.{name}_lora_rank=u32:64" for name in ("decay", "iclr", "value_residual_mix", "gate")
)
_SEGMENTS = ("tokenizer.ggml.token_type_count=u32:2",)
_MORE: Mapping[str, tuple[str, ...]] = {
    "bert": _SEGMENTS,
    "nomic-bert": _SEGMENTS,
    "nomic-bert-moe": _SEGMENTS,
    "jina-bert-v2": _SEGMENTS,
    "jina-bert-v3": _SEGMENTS,
    "gemma4": ("attention.sliding_window_pattern=u32s:1,1,1,1,0",),
    "rwkv7": _LORA_RANKS,
    "rwkv6qwen2": ("token_shift_count=u32:1",),
    "arwkv7": (*_LORA_RANKS, "token_shift_count=u32:1"),
    "deepseek2-ocr": (
        "expert_count=u32:2",
        "expert_used_count=u32:2",
        "expert_shared_count=u32:1",
        "expert_feed_forward_length=u32:192",
    ),
}
# Further variants: a name, and the metadata that makes it one.
_VARIANTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "gemma4": {
        "shared": (
            "attention.shared_kv_layers=u32:2",
            "attention.sliding_window_pattern=u32s:1,1,0,1,0",
        )
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """One model. path: None where llama.cpp itself cannot make it; reason: its words."""

    architecture: str
    variant: str
    path: Path | None
    reason: str = ""

    @property
    def name(self) -> str:
        """Such as "granitehybrid-dense"."""
        return f"{self.architecture}-{self.variant}"


@functools.cache
def zoo() -> tuple[Fixture, ...]:
    """Every model there is, made where it is missing."""
    folder = cache.folder("zoo", _fingerprint())
    with cache.exclusive("zoo"):
        program = folder / "saved_archs"
        if not program.exists():
            print(
                "zoo: builds a program that saves llama.cpp's test models, and runs it: a minute,"
                f" 1 GB in {folder}",
                flush=True,
            )
            for old in folder.parent.iterdir():
                if old != folder:
                    shutil.rmtree(old)
            _compile(program)
        listed = subprocess.run(
            [program], capture_output=True, text=True, check=True, env=_environment()
        ).stdout
        made = []
        for line in listed.splitlines():
            architecture, variant = line.split()
            for name, more in {variant: (), **_VARIANTS.get(architecture, {})}.items():
                made.append(_made(folder, program, architecture, variant, name, more))
    return tuple(made)


def _fingerprint() -> str:
    digest = hashlib.sha256(peers.VERSION.encode())
    digest.update(_SOURCE.read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()[:12]


def _compile(program: Path) -> None:
    """Link against the library that the engine loads, so that nothing of llama.cpp is built."""
    sources = peers.source()
    library = _library()
    compiler = os.environ.get("CXX", "c++")
    scratch = program.with_suffix(".new")
    command = [compiler, "-std=c++17", "-O1", "-w", str(_SOURCE), "-o", str(scratch)]
    for part in ("include", "src", "ggml/include", "common", "vendor", "tests"):
        command += ["-I", str(sources / part)]
    command += [f"-L{library}", *(f"-l{one}" for one in _LIBRARIES)]
    subprocess.run(command, check=True)
    scratch.rename(program)


def _library() -> Path:
    found = importlib.util.find_spec("llama_cpp")
    if found is None or found.origin is None:
        raise BenchError("llama-cpp-python is not installed")
    return Path(found.origin).parent / "lib"


def _environment() -> dict[str, str]:
    """The library of this environment. The program may outlive the one that it was linked in."""
    name = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
    return {**os.environ, name: str(_library())}


def _made(
    folder: Path, program: Path, architecture: str, variant: str, name: str, more: tuple[str, ...]
) -> Fixture:
    path = folder / f"{architecture}-{name}.gguf"
    refused = path.with_suffix(".refused")
    if not path.exists() and not refused.exists():
        bare = path.with_suffix(".bare")
        extra = [
            one if one.startswith("tokenizer.") else f"{architecture}.{one}"
            for one in (*_MORE.get(architecture, ()), *more)
        ]
        run = subprocess.run(
            [program, architecture, variant, _DEVIATION, bare, *extra],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ONE_S,
            check=False,
            env=_environment(),
        )
        if run.returncode:
            refused.write_text(_last_words(run.stderr))
        else:
            scratch = path.with_suffix(".new")
            _give_vocabulary(bare, scratch)
            scratch.rename(path)
        bare.unlink(missing_ok=True)
    if path.exists():
        return Fixture(architecture=architecture, variant=name, path=path)
    return Fixture(
        architecture=architecture, variant=name, path=None, reason=refused.read_text().strip()
    )


def _last_words(log: str) -> str:
    marks = ("error loading model", "GGML_ASSERT", "terminate called")
    found = [line for line in log.splitlines() if any(mark in line for mark in marks)]
    return found[0].split("error loading model: ")[-1].strip() if found else "no reason given"


def _give_vocabulary(source: Path, target: Path) -> None:
    reader = GGUFReader(source)
    fields = {
        name: (field.contents(), field.types)
        for name, field in reader.fields.items()
        if not name.startswith(("GGUF.", "tokenizer."))
    }
    architecture = str(fields.pop("general.architecture")[0])
    n_vocab = int(fields[f"{architecture}.vocab_size"][0])
    writer = GGUFWriter(target, architecture)
    learnt = [one.shape for one in reader.tensors if one.name == "position_embd.weight"]
    n_positions = int(learnt[0][1]) if learnt else CONTEXT_TOKENS
    fields[f"{architecture}.context_length"] = (n_positions, [GGUFValueType.UINT32])
    for name, (value, types) in fields.items():
        writer.add_key_value(name, value, types[0], types[-1] if len(types) > 1 else None)
    add_vocabulary(writer, n_vocab)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
