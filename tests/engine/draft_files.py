"""Files made of the model that ships: with other weights, with one token changed. Not a test."""

from pathlib import Path

import numpy as np

from umad import nano
from umad.models.gguf import read_header

_Q8_0, _BLOCK_BYTES = 8, 34


def shuffled(path: Path) -> Path:
    """nano with the weights of its layers in disorder: it knows the tokens, and no language."""
    header, data = read_header(nano.path()), bytearray(nano.path().read_bytes())
    rng = np.random.default_rng(1)
    for tensor in header.tensors:
        if tensor.type_number == _Q8_0 and tensor.name.startswith("blk."):
            assert tensor.size_bytes is not None
            begin = header.data_at + tensor.offset
            blocks = np.frombuffer(data, np.uint8, tensor.size_bytes, begin).reshape(
                -1, _BLOCK_BYTES
            )
            mixed = rng.permutation(blocks).tobytes()
            data[begin : begin + tensor.size_bytes] = mixed
    path.write_bytes(data)
    return path


def with_another_token(path: Path, old: bytes, new: bytes) -> Path:
    """nano with the text `new` for the token `old`."""
    data = nano.path().read_bytes()
    before, after = (len(one).to_bytes(8, "little") + one for one in (old, new))
    assert len(before) == len(after)
    assert data.count(before) == 1
    path.write_bytes(data.replace(before, after))
    return path
