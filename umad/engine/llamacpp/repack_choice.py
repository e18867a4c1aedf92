"""Decides whether a model's weights are repacked when it is loaded.

llama.cpp keeps weights of some types in another order, in which the kernels made for this processor
read several rows at once. Measured on two cores of an EPYC against the plain order: prompts of
MXFP4 at 1.3 times the speed and of Q4_0 at 1.4, single tokens at 1.2 and 1.3
(`docs/decisions/0046-repacked-weights.md`). llama-server does so unasked. What it costs: packed
weights are private memory, which the system cannot drop and read again, and the file's own pages of
them are read once for nothing (`given_back`).

    with_repack     the settings of one load, with `repack` settled
    pays            the choice, where the setting leaves it open

Not: whether the kernels work (`repack_check`). Owner: the engine's main thread.
"""

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass, replace

from umad.config import EngineSettings
from umad.engine.llamacpp import repack_check
from umad.engine.llamacpp.devices import Device
from umad.engine.llamacpp.memory_check import mb
from umad.models.gguf import GgufHeader

log = logging.getLogger("umad.engine")

# A model so small is quick in any order. Finding out whether the kernels work takes longer than it
# would gain.
LEAST_BYTES = 64 * 2**20
# The least share of a model's matrices that is worth packing. Where a fourteenth was packed (Q4_K_M
# of a narrow model), a prompt took 1.1 times as long as in the plain order and a single stream's
# token 1.06; where two fifths and more were (MXFP4, Q4_0), both took from 0.75 to 0.87.
LEAST_PACKED = 0.2
# The most that packed weights may take of the memory that other engines leave: what is packed can
# only be swapped, and not dropped.
MOST_SHARE = 0.5
# llama.cpp looks rows of these up, and multiplies nothing with them.
_LOOKED_UP = ("token_embd.", "per_layer_token_embd.", "position_embd.", "token_types.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packable:
    """What can be packed of one model. by_type: bytes of its matrices by ggml's number of their
    type."""

    by_type: dict[int, int]

    @classmethod
    def of(cls, headers: Collection[GgufHeader]) -> "Packable":
        """Add up the matrices of all files of a model."""
        by_type: dict[int, int] = {}
        for header in headers:
            for tensor in header.tensors:
                if len(tensor.shape) > 1 and not tensor.name.startswith(_LOOKED_UP):
                    n_bytes = by_type.get(tensor.type_number, 0) + (tensor.size_bytes or 0)
                    by_type[tensor.type_number] = n_bytes
        return cls(by_type=by_type)

    def n_bytes(self, types: Collection[int]) -> int:
        """Bytes of the matrices of these types."""
        return sum(self.by_type.get(one, 0) for one in types)

    @property
    def all_bytes(self) -> int:
        """Bytes of the matrices of all types."""
        return sum(self.by_type.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What else the choice depends on.

    file_bytes: of all the model's files. left_bytes: the memory that other engines leave.
    is_beside: another engine has interactive work now. keeps_file: the weights have to stay as the
    file has them, because they are locked, or read from it as they are used.
    """

    devices: tuple[Device, ...]
    file_bytes: int
    left_bytes: int
    is_beside: bool
    keeps_file: bool

    @property
    def forbids(self) -> str:
        """Why nothing is packed, whatever the kernels do; "" where nothing speaks against it."""
        if any(device.kind in ("gpu", "igpu") for device in self.devices):
            return "a GPU computes"
        if self.keeps_file:
            return "the weights stay in their file"
        if self.file_bytes < LEAST_BYTES:
            return "the model is small"
        if self.is_beside:
            # Packing takes a core for seconds, and cannot give way in the middle.
            return "another model has interactive work, which packing would disturb"
        return ""


def with_repack(
    settings: EngineSettings,
    headers: Collection[GgufHeader],
    devices: tuple[Device, ...],
    *,
    left_bytes: int,
    is_beside: bool,
) -> EngineSettings:
    """The settings with `repack` True or False. headers: of all the model's files. left_bytes,
    is_beside: as `Circumstances` has them."""
    around = Circumstances(
        devices=devices,
        file_bytes=sum(one.file_bytes for one in headers),
        left_bytes=left_bytes,
        is_beside=is_beside,
        keeps_file=settings.mlock or not settings.mmap or settings.n_cpu_moe > 0,
    )
    if settings.repack is None and around.forbids:
        log.info("repack=off: %s", around.forbids)
        return replace(settings, repack=False)
    packable = Packable.of(headers)
    memory = repack_check.repack_memory(os.environ)
    return repack_check.settled(settings, memory, lambda types: pays(packable, types, around))


def pays(packable: Packable, types: Collection[int], around: Circumstances) -> bool:
    """Whether to pack, where the setting leaves it open. types: ggml's numbers of the types that
    this machine's kernels pack. The log says what is packed, or why it is not.
    """
    packed_bytes = packable.n_bytes(types)
    if not packed_bytes:
        return False
    if packed_bytes < LEAST_PACKED * packable.all_bytes:
        log.info(
            "repack=off: only %s of %s have packed kernels here",
            mb(packed_bytes),
            mb(packable.all_bytes),
        )
        return False
    if packed_bytes > MOST_SHARE * around.left_bytes:
        log.info(
            "repack=off: %s would be private memory, more than half of %s",
            mb(packed_bytes),
            mb(around.left_bytes),
        )
        return False
    log.info("repack=on packed=%s", mb(packed_bytes))
    return True
