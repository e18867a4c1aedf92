"""Chats are tokenized in pieces to the same tokens, with llama.cpp's own vocabularies."""

from pathlib import Path

import pytest

from bench import peers
from tests.engine.test_known_pieces import Counted, finds_no_other_tokens


def _paths() -> list[Path]:
    return sorted((peers.source() / "models").glob("ggml-vocab-*.gguf"))


@pytest.mark.parametrize("path", _paths(), ids=lambda path: path.stem.removeprefix("ggml-vocab-"))
def test_the_tokens_are_those_of_the_whole_text(path: Path) -> None:
    finds_no_other_tokens(Counted(path))
