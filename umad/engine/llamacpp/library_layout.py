"""Finds out how a library lays out the structs that umad hands it, without its headers.

A function that returns a struct writes it into memory of its caller, who knows the size. Here the
caller leaves far more room than the declared struct has, and paints that room before. What the
paint does not cover afterwards the library wrote: the size of its struct, and which bytes are
fields. It is done twice with two paints, so that no value can look like paint. Then every field is
held against the default that llama.cpp gives it (`library_defaults`).

How a caller says where the result goes differs by processor, so ctypes does that, on the stack of a
thread whose whole stack was painted before. That is POSIX's `pthread_attr_setstack` and holds on
Linux and macOS (it was not run on macOS).

What it cannot see: two fields of one type and one default that have changed places. `library_trial`
sees some of them. Not: functions that are missing (`library_symbols`).
"""

import ctypes
import mmap
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from umad.engine.llamacpp import library_defaults
from umad.engine.llamacpp.struct_check import makes_sense

# A struct of llama.h has up to 200 bytes.
_LOOKED_AT_BYTES = 4096
# The result lies at the deep end of so much stack, below everything that Python used before.
_ROOM_BYTES = 512 * 1024
_STACK_BYTES = 2 * 2**20
_PAINTS = (0x5A, 0xA5)
# pthread_attr_t is 56 bytes on Linux on x86-64 and 64 elsewhere.
_ATTRIBUTES_BYTES = 512
_ALIGNED = 8
_THREAD = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
_ROWS = 7


class _Room(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_uint8 * _ROOM_BYTES),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """What a function wrote where its result belongs."""

    # The first bytes of the room.
    data: bytes
    # For each of them, whether the function wrote it.
    written: tuple[bool, ...]

    @property
    def size(self) -> int:
        """The struct's size, up to a few bytes that no field uses."""
        last = max((at for at, is_written in enumerate(self.written) if is_written), default=-1)
        return -(-(last + 1) // _ALIGNED) * _ALIGNED


def returned(function: Any, *arguments: Any) -> Returned:
    """Call a function that returns a struct. arguments: ctypes values."""
    made = ctypes.CFUNCTYPE(_Room, *map(type, arguments))(
        ctypes.cast(function, ctypes.c_void_p).value or 0
    )
    one, other = (_on_painted_stack(made, arguments, paint) for paint in _PAINTS)
    return Returned(data=one, written=tuple(a == b for a, b in zip(one, other, strict=True)))


def layout_faults(declared: Any, library: ctypes.CDLL) -> list[str]:
    """What does not fit, in words; none where all structs are laid out as declared.

    declared: the module `llama_cpp.llama_cpp`, bound to the library.
    """
    tokens = (ctypes.c_int32 * _ROWS)()
    at = ctypes.cast(tokens, ctypes.c_void_p)
    batch = {name: 0 for name, _ in declared.llama_batch._fields_}
    looks: tuple[tuple[str, Any, Mapping[str, float], Sequence[Any]], ...] = (
        (
            "llama_model_default_params",
            declared.llama_model_params,
            library_defaults.MODEL,
            (),
        ),
        (
            "llama_context_default_params",
            declared.llama_context_params,
            library_defaults.CONTEXT,
            (),
        ),
        (
            "llama_model_quantize_default_params",
            declared.llama_model_quantize_params,
            library_defaults.QUANTIZE,
            (),
        ),
        (
            "llama_batch_get_one",
            declared.llama_batch,
            {**batch, "n_tokens": _ROWS, "token": at.value or 0},
            (at, ctypes.c_int32(_ROWS)),
        ),
    )
    faults: list[str] = []
    for name, kind, defaults, arguments in looks:
        faults += struct_faults(kind, defaults, returned(getattr(library, name), *arguments))
    return faults


def media_faults(declared: Any, library: ctypes.CDLL) -> list[str]:
    """The same of mtmd. declared: the module `llama_cpp.mtmd_cpp`, bound to the library."""
    marker = ctypes.CFUNCTYPE(ctypes.c_void_p)(("mtmd_default_marker", library))()
    defaults = {**library_defaults.MEDIA, "media_marker": marker or 0}
    found = returned(library.mtmd_context_params_default)
    return struct_faults(declared.mtmd_context_params, defaults, found)


def struct_faults(kind: Any, defaults: Mapping[str, float], found: Returned) -> list[str]:
    """What of one struct does not fit: its size first, else its fields.

    kind: as it is declared. defaults: of its fields, as far as they are known.
    """
    name, size = kind.__name__, ctypes.sizeof(kind)
    fields = [(one, declared, getattr(kind, one)) for one, declared, *_ in kind._fields_]
    if found.size != -(-size // _ALIGNED) * _ALIGNED:
        return [f"its {name} has {found.size} bytes, and {size} are expected"]
    faults = []
    for one, declared, place in fields:
        span = slice(place.offset, place.offset + place.size)
        part = found.data[span]
        if not all(found.written[span]):
            faults.append(
                f"its {name} has no field at byte {place.offset}, where {one} is expected"
            )
        elif one not in defaults:
            if not makes_sense(part, declared):
                faults.append(f"its {name}.{one} has no possible value")
        elif (value := _value(part, declared)) != defaults[one]:
            faults.append(f"its {name}.{one} is {value:g}, and {defaults[one]:g} is expected")
    return faults


def _value(part: bytes, kind: Any) -> float:
    if issubclass(kind, ctypes._SimpleCData) and kind not in (ctypes.c_void_p, ctypes.c_char_p):
        # A bool is compared as the byte that it is: not every byte is one.
        simple = ctypes.c_uint8 if kind is ctypes.c_bool else kind
        return float(simple.from_buffer_copy(part).value)
    return float(int.from_bytes(part, "little"))


def _on_painted_stack(function: Any, arguments: Sequence[Any], paint: int) -> bytes:
    """The first bytes of the room for the function's result, after it has returned."""
    threads = ctypes.CDLL(None)
    memory = mmap.mmap(-1, _STACK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    stack = ctypes.c_char.from_buffer(memory)
    attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
    thread = ctypes.c_void_p()
    seen: list[bytes] = []

    def call(_argument: object) -> None:
        result = function(*arguments)
        seen.append(ctypes.string_at(ctypes.addressof(result), _LOOKED_AT_BYTES))

    start = _THREAD(call)
    try:
        ctypes.memset(ctypes.addressof(stack), paint, _STACK_BYTES)
        _sure(threads.pthread_attr_init(attributes))
        place = ctypes.c_void_p(ctypes.addressof(stack))
        _sure(threads.pthread_attr_setstack(attributes, place, ctypes.c_size_t(_STACK_BYTES)))
        _sure(threads.pthread_create(ctypes.byref(thread), attributes, start, None))
        _sure(threads.pthread_join(thread, None))
    finally:
        threads.pthread_attr_destroy(attributes)
        del stack
        memory.close()
    return seen[0]


def _sure(code: int) -> None:
    if code:
        raise OSError(code, f"no thread on {platform.system()} with a stack of its own")
