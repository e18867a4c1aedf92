"""Our names of KV types as ggml's. Pure.

q6 has no type of its own among those llama.cpp keeps a cache in; Q5_1 is the nearest: five bits,
and with a scale and an offset a block six bits an element exactly.
"""

from dataclasses import dataclass

from umad.config import KvType


@dataclass(frozen=True, slots=True, kw_only=True)
class GgmlType:
    """A type llama.cpp keeps a KV cache in. exact: it is what our name says."""

    name: str
    number: int
    exact: bool = True

    @property
    def is_quantised(self) -> bool:
        """A quantised V cache needs flash attention."""
        return self.name != "F16"


KV_TYPES: dict[KvType, GgmlType] = {
    "f16": GgmlType(name="F16", number=1),
    "q8": GgmlType(name="Q8_0", number=8),
    "q6": GgmlType(name="Q5_1", number=7, exact=False),
    "q4": GgmlType(name="Q4_0", number=2),
}
