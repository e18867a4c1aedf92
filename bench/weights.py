"""Draws random weights in the forms in which GGUF files keep them: float32, Q8_0 and MXFP4.

The same name, seed and form give the same bytes, whatever else was drawn. Not the shapes of models
(`bench.shapes`). Pure but for the memory of one tensor. Owner: the caller.
"""

import dataclasses
import math
import zlib
from typing import Literal

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType

Form = Literal["f32", "q8_0", "mxfp4"]
_TYPES = {
    "f32": GGMLQuantizationType.F32,
    "q8_0": GGMLQuantizationType.Q8_0,
    "mxfp4": GGMLQuantizationType.MXFP4,
}
_BLOCK_WEIGHTS = 32
# Q8_0: one float16 scale, then 32 int8. MXFP4: one exponent, then 32 halves of a byte.
_BLOCK_BYTES = {"q8_0": 34, "mxfp4": 17}
_INT8_STD = 127 / math.sqrt(3)  # of uniform int8 in [-127, 127]
# Of ggml's sixteen values, 0 to 12 and 0 to -12; an exponent of 128 takes them as they are.
_FP4_STD = math.sqrt(sum(one * one for one in (0, 1, 2, 3, 4, 6, 8, 12)) / 8)
_FP4_ONE = 128


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor of a file, of normal deviates. rows: 1 for a vector. experts: matrices of this
    size, one behind the other; 0 for a single one. form: None for float32 where it is a vector and
    Q8_0 otherwise. decays: the values are minus e to the power of what is drawn, as the decay rates
    of recurrent layers are kept."""

    name: str
    rows: int
    columns: int
    std: float
    mean: float = 0.0
    experts: int = 0
    form: Form | None = None
    decays: bool = False

    @property
    def stored(self) -> Form:
        """The form it is kept in."""
        return self.form or ("q8_0" if self.rows > 1 else "f32")

    @property
    def ggml_type(self) -> GGMLQuantizationType:
        """The type that the file names."""
        return _TYPES[self.stored]

    @property
    def shape(self) -> tuple[int, ...]:
        """Elements, the innermost dimension last."""
        if self.experts:
            return (self.experts, self.rows, self.columns)
        return (self.rows, self.columns) if self.rows > 1 else (self.columns,)

    @property
    def n_weights(self) -> int:
        """How many there are."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """What it takes in the file."""
        if self.stored == "f32":
            return 4 * self.n_weights
        return self.n_weights // _BLOCK_WEIGHTS * _BLOCK_BYTES[self.stored]


def drawn(tensor: Tensor, seed: int) -> npt.NDArray[np.generic]:
    """Its values as float32, or the bytes of its blocks, a row of blocks for each row."""
    # Seeded by name, so that a tensor's values do not depend on which were drawn before it.
    generator = np.random.default_rng([seed, zlib.crc32(tensor.name.encode())])
    if tensor.stored == "f32":
        values = generator.standard_normal(tensor.n_weights, dtype=np.float32)
        values = values * np.float32(tensor.std) + np.float32(tensor.mean)
        return (-np.exp(values) if tensor.decays else values).reshape(tensor.shape)
    raw = np.frombuffer(bytearray(generator.bytes(tensor.size_bytes)), dtype=np.uint8)
    blocks = raw.reshape(-1, _BLOCK_BYTES[tensor.stored])
    if tensor.stored == "q8_0":
        blocks[blocks == 0x80] = 0x81  # -128 is no value a Q8_0 quantizer writes
        scale = np.array([tensor.std / _INT8_STD], dtype="<f2")
        blocks[:, :2] = scale.view(np.uint8)
    else:
        # Scales are powers of two. Blocks of the two nearest ones, mixed, have the wanted variance.
        power = math.log2(tensor.std / _FP4_STD)
        low = math.floor(power)
        share = (4.0 ** (power - low) - 1) / 3
        larger = generator.random(len(blocks)) < share
        blocks[:, 0] = _FP4_ONE + low + larger
    return raw.reshape(*tensor.shape[:-1], -1)
