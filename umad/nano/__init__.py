"""The model that ships with umad: weights, model card, training script.

Not a dependency on anything: importing this package reads nothing and needs neither torch nor
llama.cpp; `umad.nano.train` needs the `train` extra. Owner: nobody's state, safe on any thread.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

NAME = "nano"


def path() -> Path:
    """The packaged GGUF. llama.cpp maps it, so the package must be installed unzipped."""
    return Path(str(files(__name__) / "nano.gguf"))


def card_path() -> Path:
    """The model card beside the weights."""
    return Path(str(files(__name__) / "MODEL_CARD.md"))
