"""Reads what a llama.cpp context really holds, from llama.cpp's own books. Not a test.

`llama_get_memory_breakdown` is C++ and returns a std::map. It is no interface for a product; here
it is the oracle. The tree is walked as libstdc++ lays it out on 64 bits, so only on Linux.
"""

import ctypes
import sys
from dataclasses import dataclass
from typing import Any

from umad.engine.llamacpp import llama
from umad.engine.llamacpp.llama import Context

_llama: Any = llama  # the binding inside is not for others; tests may
_SYMBOL = "_Z26llama_get_memory_breakdownPK13llama_context"

IS_KNOWN = sys.platform == "linux" and hasattr(_llama.lib._lib, _SYMBOL)


class _Node(ctypes.Structure):
    """std::_Rb_tree_node of a pointer and three sizes."""

    _fields_ = (
        ("color", ctypes.c_int),
        ("parent", ctypes.c_void_p),
        ("left", ctypes.c_void_p),
        ("right", ctypes.c_void_p),
        ("buffers", ctypes.c_void_p),
        ("model", ctypes.c_size_t),
        ("context", ctypes.c_size_t),
        ("compute", ctypes.c_size_t),
    )


class _Map(ctypes.Structure):
    """std::map: a comparison, then the tree's header and count."""

    _fields_ = (
        ("compare", ctypes.c_void_p),
        ("color", ctypes.c_int),
        ("root", ctypes.c_void_p),
        ("leftmost", ctypes.c_void_p),
        ("rightmost", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """Bytes that are allocated, all devices together. Rows of output are not in it."""

    model: int = 0
    context: int = 0
    compute: int = 0


def breakdown(context: Context) -> Breakdown:
    """What this context, and its model, hold."""
    function = getattr(_llama.lib._lib, _SYMBOL)
    function.restype, function.argtypes = _Map, [ctypes.c_void_p]
    made = function(ctypes.cast(context._handle, ctypes.c_void_p))
    nodes: list[_Node] = []
    left_to_see = [made.root]
    while left_to_see:
        at = left_to_see.pop()
        if at:
            node = ctypes.cast(at, ctypes.POINTER(_Node)).contents
            nodes.append(node)
            left_to_see += [node.left, node.right]
    assert len(nodes) == made.count
    return Breakdown(
        model=sum(node.model for node in nodes),
        context=sum(node.context for node in nodes),
        compute=sum(node.compute for node in nodes),
    )
