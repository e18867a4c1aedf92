"""Looks at llama.cpp on this machine, for `umad doctor`: `umad.engine.llamacpp.self_check`.

It is a process of its own, because loading the library, asking its devices or trying its kernels
may kill it, and because the command line never loads llama.cpp. On stdout, one JSON object:

    build          the binding's version and the library's features
    library        the library's file; "" for the one inside llama-cpp-python
    devices        [{name, description, kind, backend, memory_bytes}]
    struct_faults  fields of structs that do not fit (`struct_check`)
    instructions   AMX flags that the processor is said to have
    repack         faults of repacked kernels by buffer type, "" where they work; null for unknown
    repack_unknown why that is not known
    threads        threads that a decode would have
"""

import json
import os
import sys
from typing import Any

from umad.engine.llamacpp import llama
from umad.engine.llamacpp.processor import has_instruction
from umad.engine.llamacpp.repack_check import RepackUnknown, repack_memory
from umad.engine.prctl import die_with_parent
from umad.engine.process import decode_threads

_FLAGS = ("amx_tile", "amx_int8", "amx_bf16")


def main() -> int:
    """Look, and print."""
    die_with_parent(os.getppid())
    llama.start()
    found: dict[str, Any] = {
        "build": llama.build(),
        "library": str(llama.library_path() or ""),
        "devices": [
            {
                "name": one.name,
                "description": one.description,
                "kind": one.kind,
                "backend": one.backend,
                "memory_bytes": one.memory_bytes,
            }
            for one in llama.devices()
        ],
        "struct_faults": llama.struct_faults(),
        "instructions": [flag for flag in _FLAGS if has_instruction(flag)],
        "threads": decode_threads(),
        "repack": None,
        "repack_unknown": "",
    }
    try:
        found["repack"] = dict(repack_memory(os.environ).known().faults)
    except RepackUnknown as unknown:
        found["repack_unknown"] = str(unknown)
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
