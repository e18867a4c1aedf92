"""Writes small GGUF files by hand, so that the reader is not checked against itself."""

import struct
from collections.abc import Mapping, Sequence

U32, F32, BOOL, STRING, ARRAY, U64 = 4, 6, 7, 8, 9, 10


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(one: object) -> bytes:
    if isinstance(one, bool):
        return struct.pack("<I?", BOOL, one)
    if isinstance(one, int):
        return struct.pack("<II", U32, one)
    if isinstance(one, float):
        return struct.pack("<If", F32, one)
    if isinstance(one, str):
        return struct.pack("<I", STRING) + text(one)
    if isinstance(one, list) and all(isinstance(item, str) for item in one):
        items = b"".join(text(item) for item in one)
        return struct.pack("<IIQ", ARRAY, STRING, len(one)) + items
    if isinstance(one, list) and any(isinstance(item, float) for item in one):
        return struct.pack("<IIQ", ARRAY, F32, len(one)) + struct.pack(f"<{len(one)}f", *one)
    if isinstance(one, list):
        return struct.pack("<IIQ", ARRAY, U32, len(one)) + struct.pack(f"<{len(one)}I", *one)
    if isinstance(one, dict):
        wide: list[int] = one["u64"]
        return struct.pack("<IIQ", ARRAY, U64, len(wide)) + struct.pack(f"<{len(wide)}Q", *wide)
    raise TypeError(one)


def gguf(
    metadata: Mapping[str, object],
    tensors: Sequence[tuple[str, tuple[int, ...], int, int]] = (),
    *,
    version: int = 3,
) -> bytes:
    """A whole file. tensors: (name, shape, ggml type, bytes of data)."""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, one in metadata.items():
        out += text(key) + value(one)
    offset = 0
    for name, shape, kind, n_bytes in tensors:
        out += text(name) + struct.pack("<I", len(shape))
        out += struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset)
        offset += -(-n_bytes // 32) * 32
    out += bytes(-len(out) % 32)
    return out + bytes(offset)


def adapter(name: str = "pirate", *, base: str = "nano", data: bytes = b"") -> bytes:
    """A LoRA adapter of a weight that nano has. data: its last bytes."""
    weight = "blk.0.attn_q.weight"
    metadata = {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 4.0,
        "general.name": name,
        **({"general.base_model.0.name": base} if base else {}),
    }
    tensors = [(f"{weight}.lora_a", (256, 4), 1, 2048), (f"{weight}.lora_b", (4, 256), 1, 2048)]
    whole = gguf(metadata, tensors)
    return whole[: len(whole) - len(data)] + data
