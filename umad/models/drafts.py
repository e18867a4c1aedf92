"""Says which files come into question as the draft of a model. Pure.

Not: whether one has the model's vocabulary (`umad.engine.llamacpp.draft_model`).
"""

from collections.abc import Iterable
from pathlib import Path

# As the option `draft` says it: the smallest model that fits.
AUTO = "auto"
# A draft has to be smaller than this share of its model. A larger one takes too long to gain much.
CLEARLY_SMALLER = 1 / 3
# So many files are looked at, the smallest first. Reading a header takes up to 0.1 s; those of
# other tokenizers are looked at no further.
MOST_TRIED = 32


def smaller_ones(
    size_bytes: int, others: Iterable[tuple[Path, int]], *, most: int = MOST_TRIED
) -> tuple[Path, ...]:
    """Files that are clearly smaller than a model of so many bytes, the smallest first. others:
    paths and sizes.
    """
    small = [(size, path) for path, size in others if 0 < size < CLEARLY_SMALLER * size_bytes]
    return tuple([path for _, path in sorted(small)[:most]])
