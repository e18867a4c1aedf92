"""Finds the model a benchmark is asked for: a generated shape, nano as it is or wider, or a file.

Pure but for reading the file's header. Not a download. Owner: the caller.
"""

from pathlib import Path

from bench import shapes, widened
from umad import nano
from umad.models import gguf

# Ordinary tokens come first in the vocabularies the models here have; in Qwen2's, what follows
# are control tokens and padding.
_QWEN2_TEXT_TOKENS = 151_643


def path(name: str) -> Path:
    """The file of a shape's name, of `nano`, or of a path; a shape is written on first use, and so
    is nano in the measures of a larger model."""
    if name == "nano":
        return nano.path()
    if name in widened.MEASURES:
        return widened.model(name)
    return Path(name) if name.endswith(".gguf") else shapes.model(name)


def text_tokens(model: Path) -> int:
    """How many token ids, from 0, prompts may be drawn from."""
    vocabulary = gguf.read_header(model).array_lengths["tokenizer.ggml.tokens"]
    return min(vocabulary, _QWEN2_TEXT_TOKENS)
