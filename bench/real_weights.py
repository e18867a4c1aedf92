"""Finds real models: Gemma 3 270M, which has windows of 512, and all-MiniLM-L6-v2, which embeds.

Gemma gets a chat template. It has none of its own, because it was not trained to chat, and both
contenders need the same one. Not a download: `make weights-test` fetches the models (240 MB, Gemma
terms; 83 MB, Apache-2.0).
Owner: whoever holds the lock `models`.
"""

import os
import sys
from pathlib import Path

from gguf import GGUFReader, GGUFWriter

from bench import cache
from bench.errors import BenchError
from umad.cache_path import cache_folder

GEMMA = "gemma-3-270m"
_FILE = "gemma-3-270m-q4_k_m.gguf"
_MINILM = "all-minilm-l6-v2-f32.gguf"
_TEMPLATE = """\
{{ bos_token }}{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\n\n' %}\
{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}\
{% for turn in turns %}<start_of_turn>{{ 'model' if turn.role == 'assistant' else turn.role }}
{{ first if loop.first else '' }}{{ turn.content | trim }}<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""


def gemma() -> Path:
    """The model with a template, written on first use."""
    source = cache_folder(os.environ, sys.platform) / "weights" / _FILE
    path = cache.folder("models") / "gemma-3-270m-chat.gguf"
    with cache.exclusive("models"):
        if not path.exists():
            if not source.exists():
                raise BenchError(f"there is no {source}: `make weights-test` fetches it")
            partial = path.with_suffix(".partial")
            _with_template(source, partial)
            partial.rename(path)
    return path


def minilm() -> Path:
    """all-MiniLM-L6-v2, as `make weights-test` has converted it."""
    path = cache_folder(os.environ, sys.platform) / "weights" / _MINILM
    if not path.exists():
        raise BenchError(
            f"there is no {path}: `make weights-test` fetches it; --model takes any other"
        )
    return path


def _with_template(source: Path, target: Path) -> None:
    reader = GGUFReader(source)
    fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    writer = GGUFWriter(target, fields.pop("general.architecture").contents())
    for name, field in fields.items():
        inner = field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(name, field.contents(), field.types[0], inner)
    writer.add_chat_template(_TEMPLATE)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
