"""Gives the paths of the model that ships with umad: weights and model card.

Its training script is `umad.nano.train`, which needs the `train` extra. Importing this package
reads no file and needs neither torch nor llama.cpp. It has no state; any thread may use it.
"""

from __future__ import annotations

from pathlib import Path

NAME = "nano"
_FOLDER = Path(__file__).parent


def path() -> Path:
    """The packaged GGUF. llama.cpp maps it, so the package must be installed unzipped."""
    return _FOLDER / "nano.gguf"


def card_path() -> Path:
    """The model card beside the weights."""
    return _FOLDER / "MODEL_CARD.md"
