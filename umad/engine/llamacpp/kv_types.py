"""Maps our names of KV types to ggml's. Pure.

llama.cpp keeps no cache in a type of six bits, so q6 becomes Q5_1, the nearest: five bits, and
with a scale and an offset for each block exactly six bits an element.
"""

from dataclasses import dataclass

from umad.config import KvType


@dataclass(frozen=True, slots=True, kw_only=True)
class GgmlType:
    """A type that llama.cpp can keep a KV cache in."""

    name: str
    number: int
    # The type is what our name says.
    exact: bool = True

    @property
    def is_quantised(self) -> bool:
        """True if it is quantised. A quantised V cache needs flash attention."""
        return self.name != "F16"


KV_TYPES: dict[KvType, GgmlType] = {
    "f16": GgmlType(name="F16", number=1),
    "q8": GgmlType(name="Q8_0", number=8),
    "q6": GgmlType(name="Q5_1", number=7, exact=False),
    "q4": GgmlType(name="Q4_0", number=2),
}
