"""Names the types that a model's file can be quantized to, and the ladder that `auto` goes down.

Values only. Not: the work (`umad.engine.quantizer`).
"""

import re
from dataclasses import dataclass
from typing import Literal

from umad.estimate import bytes_words

# As llama.cpp's own program writes them, in small letters.
QuantizeKind = Literal["f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q3_k_m", "q2_k"]
QuantizeWish = Literal["auto", "f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q3_k_m", "q2_k"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One type of the ladder."""

    kind: QuantizeKind
    # Bits of a weight, about.
    bits: float
    # The most by which the perplexity of a short text may grow, as a multiple of the source's. A
    # file beyond that is broken, not merely worse. Published figures of 7B and 8B models are 1.00
    # for q8_0 and q6_k, 1.01 for q5_k_m and q4_k_m, 1.04 for q3_k_m and 1.12 to 1.4 for q2_k
    # (llama.cpp's tools/quantize/README.md); models of some million weights lose more.
    most_worse: float


# `auto` takes the first one that fits. Below q2_k models write nonsense, and llama.cpp wants
# statistics of the model (an imatrix) that umad does not make.
LADDER: tuple[Rung, ...] = (
    Rung(kind="q8_0", bits=8.5, most_worse=1.05),
    Rung(kind="q6_k", bits=6.6, most_worse=1.1),
    Rung(kind="q5_k_m", bits=5.7, most_worse=1.2),
    Rung(kind="q4_k_m", bits=4.9, most_worse=1.5),
    Rung(kind="q3_k_m", bits=3.9, most_worse=2.0),
    Rung(kind="q2_k", bits=3.0, most_worse=4.0),
)
# What files of whole weights are called by those who make them.
_WHOLE_NAMES = re.compile(r"[-._](?:bf16|f16|fp16|f32|fp32)$", re.IGNORECASE)
# The context that a model has to have room for beside its weights, or its longest text if shorter.
AUTO_TOKENS = 2**15


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeTold:
    """The size of a result, before anything is written."""

    kind: QuantizeKind
    source_bytes: int
    target_bytes: int

    def words(self) -> str:
        """In one line."""
        return (
            f"{self.kind} makes {bytes_words(self.target_bytes)} of "
            f"{bytes_words(self.source_bytes)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeProgress:
    """Tensors that are done."""

    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The check of a result: the perplexity of a short text under source and result."""

    source: float
    result: float

    @property
    def ratio(self) -> float:
        """The result's perplexity as a multiple of the source's."""
        return self.result / self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """A file that was written, checked and named."""

    path: str
    kind: QuantizeKind
    n_bytes: int
    # None where the model cannot be asked for probabilities: it only embeds.
    check: Checked | None


def without_type(name: str) -> str:
    """The name of a file or model of whole weights, without the type at its end."""
    return _WHOLE_NAMES.sub("", name)


def most_worse(kind: QuantizeKind) -> float:
    """The most by which this type may raise the perplexity."""
    return next((rung.most_worse for rung in LADDER if rung.kind == kind), LADDER[0].most_worse)
