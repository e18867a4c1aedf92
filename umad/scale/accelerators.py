"""Knows accelerators: their memory as their driver reports it, and what they can compute. Pure.

Names are SkyPilot's, because they stand in its tasks; other spellings are taken too. Memory is in
MiB as `nvidia-smi` prints it: a sheet's "80 GB" is 79.6 GiB on one card and 80.0 on another.
Sources, looked up in 2026:

    [modal]   nvidia-smi of H200, H100, A100, A10, L40S, L4, T4 (Modal's table of measured memory)
    [vultr]   nvidia-smi of HGX B200 (Vultr's inference cookbook)
    [spark]   torch's total of a GB10, 121.69 GiB (unslothai/unsloth pull request 10283)
    [sheet]   the maker's data sheet; where a driver's figure was not found, the sheet's GB are
              taken as 10^9 bytes, which is the cautious reading
    [cc]      compute capabilities: NVIDIA's list at developer.nvidia.com/cuda-gpus; gfx names:
              ROCm's table of system requirements

Not: prices, or how fast they are.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from typing_extensions import override

from umad.errors import BadRequest
from umad.model_names import near_names

Vendor = Literal["nvidia", "amd"]
_MIB = 2**20
# Above what anybody rents as one deployment; figures beyond are slips of a finger.
MOST_COUNT = 16
MOST_NODES = 64
_SHAPE = re.compile(r"(?P<name>[^:=]+?)(?:[:=](?P<count>\d{1,6}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One kind of accelerator."""

    name: str
    vendor: Vendor
    # Hopper, Ampere, CDNA 3, …
    generation: str
    memory_bytes: int
    # NVIDIA's compute capability times ten, as the engines write it: 90. 0 for another maker's.
    capability: int
    source: str
    # AMD's name of the chip.
    gfx: str = ""
    # Its memory is the machine's, and other programs want some of it.
    is_unified: bool = False
    # Accelerators of one machine reach each other's memory without the host (NVLink, Infinity
    # Fabric). Tensor parallelism is slow without.
    is_linked: bool = False

    @property
    def has_fp8(self) -> bool:
        """Whether it multiplies in fp8: Ada, Hopper and later, CDNA 3 and later."""
        return self.capability >= 89 if self.vendor == "nvidia" else self.gfx >= "gfx942"

    @property
    def has_bf16(self) -> bool:
        """Whether it knows bfloat16: Ampere and later, and all of AMD's here."""
        return self.vendor == "amd" or self.capability >= 80

    @property
    def has_fp4(self) -> bool:
        """Whether it multiplies in 4-bit floats: Blackwell, CDNA 4."""
        return self.capability >= 100 if self.vendor == "nvidia" else self.gfx >= "gfx950"


def _nvidia(
    name: str, generation: str, mib: int, capability: int, source: str, *, linked: bool = False
) -> Accelerator:
    return Accelerator(
        name=name,
        vendor="nvidia",
        generation=generation,
        memory_bytes=mib * _MIB,
        capability=capability,
        source=source,
        is_linked=linked,
    )


def _amd(name: str, generation: str, n_bytes: int, gfx: str, source: str) -> Accelerator:
    return Accelerator(
        name=name,
        vendor="amd",
        generation=generation,
        memory_bytes=n_bytes,
        capability=0,
        gfx=gfx,
        source=source,
        is_linked=True,
    )


ACCELERATORS: tuple[Accelerator, ...] = (
    _nvidia("T4", "Turing", 15_360, 75, "modal"),
    _nvidia("V100", "Volta", 16_384, 70, "sheet", linked=True),
    _nvidia("V100-32GB", "Volta", 32_768, 70, "sheet", linked=True),
    _nvidia("A10", "Ampere", 23_028, 86, "modal"),
    _nvidia("A10G", "Ampere", 23_028, 86, "modal: the same chip and memory as A10"),
    _nvidia("A30", "Ampere", 22_888, 80, "sheet"),
    _nvidia("A40", "Ampere", 45_776, 86, "sheet"),
    _nvidia("A6000", "Ampere", 45_776, 86, "sheet"),
    _nvidia("A100", "Ampere", 40_960, 80, "modal", linked=True),
    _nvidia("A100-80GB", "Ampere", 81_920, 80, "modal", linked=True),
    _nvidia("L4", "Ada", 23_034, 89, "modal"),
    _nvidia("L40", "Ada", 46_068, 89, "modal: the same memory as L40S"),
    _nvidia("L40S", "Ada", 46_068, 89, "modal"),
    _nvidia("RTX4090", "Ada", 22_888, 89, "sheet"),
    _nvidia("RTX6000-Ada", "Ada", 45_776, 89, "sheet"),
    _nvidia("H100", "Hopper", 81_559, 90, "modal", linked=True),
    _nvidia("H20", "Hopper", 91_552, 90, "sheet", linked=True),
    _nvidia("GH200", "Hopper", 91_552, 90, "sheet: 96 GB of HBM3"),
    _nvidia("H200", "Hopper", 143_771, 90, "modal", linked=True),
    _nvidia("B200", "Blackwell", 183_359, 100, "vultr", linked=True),
    _nvidia("B300", "Blackwell", 274_658, 103, "sheet", linked=True),
    _nvidia("RTX5090", "Blackwell", 30_517, 120, "sheet"),
    _nvidia("RTXPRO6000", "Blackwell", 91_552, 120, "sheet"),
    Accelerator(
        name="GB10",
        vendor="nvidia",
        generation="Blackwell",
        memory_bytes=124_610 * _MIB,
        capability=121,
        source="spark",
        is_unified=True,
    ),
    _amd("MI210", "CDNA 2", 64 * 2**30, "gfx90a", "sheet: 64 GB of HBM2e, in powers of two"),
    _amd("MI250", "CDNA 2", 64 * 2**30, "gfx90a", "sheet: each half of the card is a device"),
    _amd("MI300X", "CDNA 3", 192 * 10**9, "gfx942", "sheet"),
    _amd("MI325X", "CDNA 3", 256 * 10**9, "gfx942", "sheet"),
    _amd("MI350X", "CDNA 4", 288 * 10**9, "gfx950", "sheet"),
    _amd("MI355X", "CDNA 4", 288 * 10**9, "gfx950", "sheet"),
)
# Other spellings, without case, blanks, dashes and underscores.
_ALIASES = {
    "a10040gb": "A100",
    "a100sxm": "A100",
    "a100sxm480gb": "A100-80GB",
    "a100pcie80gb": "A100-80GB",
    "h10080gb": "H100",
    "h100sxm": "H100",
    "h100sxm5": "H100",
    "h100pcie": "H100",
    "h100hbm3": "H100",
    "h200sxm": "H200",
    "v10016gb": "V100",
    "rtxa6000": "A6000",
    "ada6000": "RTX6000-Ada",
    "rtx6000": "RTX6000-Ada",
    "6000ada": "RTX6000-Ada",
    "rtx6000adageneration": "RTX6000-Ada",
    "4090": "RTX4090",
    "5090": "RTX5090",
    "geforcertx4090": "RTX4090",
    "geforcertx5090": "RTX5090",
    "rtxpro6000blackwell": "RTXPRO6000",
    "dgxspark": "GB10",
    "spark": "GB10",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """Some accelerators of one kind in each of some machines."""

    accelerator: Accelerator
    # In one machine.
    count: int
    nodes: int = 1

    @property
    def total(self) -> int:
        """Accelerators of all machines."""
        return self.count * self.nodes

    @override
    def __str__(self) -> str:
        shown = f"{self.accelerator.name}:{self.count}"
        return shown if self.nodes == 1 else f"{shown} in each of {self.nodes} machines"


def parse(text: str, *, nodes: int = 1) -> Machines:
    """What `A100:4` means. Raises `BadRequest`, which names near accelerators."""
    found = _SHAPE.fullmatch(text.strip())
    if found is None:
        raise BadRequest(
            f"{text[:60]!r} is no accelerator: write NAME or NAME:COUNT, such as A100-80GB:2",
            field="accelerators",
        )
    count = int(found["count"] or 1)
    if not 1 <= count <= MOST_COUNT:
        raise BadRequest(
            f"{count} accelerators in one machine: there are 1 to {MOST_COUNT}; "
            "--nodes says how many machines",
            field="accelerators",
        )
    if not 1 <= nodes <= MOST_NODES:
        raise BadRequest(f"{nodes} machines: there are 1 to {MOST_NODES}", field="nodes")
    return Machines(accelerator=accelerator(found["name"]), count=count, nodes=nodes)


def accelerator(name: str) -> Accelerator:
    """The accelerator of a name, in any spelling. Raises `BadRequest`, which names near ones."""
    plain = _plain(name)
    for one in ACCELERATORS:
        if plain in (_plain(one.name), _plain(f"{one.vendor}{one.name}")):
            return one
    meant = _ALIASES.get(plain) or _ALIASES.get(plain.removeprefix("nvidia").removeprefix("amd"))
    if meant is not None:
        return accelerator(meant)
    near = near_names(name.strip(), names())
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names())}"
    raise BadRequest(
        f"accelerator {name.strip()[:60]!r} is not known; {hint}", field="accelerators"
    )


def names() -> tuple[str, ...]:
    """The names of all."""
    return tuple(one.name for one in ACCELERATORS)


def by_memory(kinds: Iterable[Accelerator] = ACCELERATORS) -> list[Accelerator]:
    """All of them, those with the least memory first."""
    return sorted(kinds, key=lambda one: one.memory_bytes)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()
