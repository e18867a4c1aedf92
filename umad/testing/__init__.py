"""Provides stand-ins for tests of everything around an engine, and a backend without a model file.

    fake_engine    FakeEngine: a process that speaks the real link and makes up tokens
    numpy_backend  NumpyBackend: a toy model behind the real engine process
    toy_runner     carries plans out on the toy's cells
    toy_embedder   the toy's vectors
    toy_cells      the toy's cells and slabs
    toy_tokens     the toy's vocabulary and logits
    whisper_file   a tiny Whisper model with random weights, for the real transcriber

`python -m umad.testing FD MODEL` is a fake engine's process.
Not: tests; those are in `tests/`. Each process has one thread that uses these.
"""

from umad.testing.fake_engine import FAKE_VOCAB, FakeModel, fake_command, fake_text, fake_token

__all__ = ["FAKE_VOCAB", "FakeModel", "fake_command", "fake_text", "fake_token"]
