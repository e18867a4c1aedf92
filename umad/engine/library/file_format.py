"""Says whether a file is a shared library for this machine, from its first bytes.

The system's own words for a wrong file differ ("invalid ELF header", "file too short", "wrong ELF
class"), and name neither what was found nor what is needed. Formats: ELF, Mach-O and Mach-O of
several architectures. Not: whether it is llama.cpp's (`asking`).
"""

import struct
from pathlib import Path

_HEAD_BYTES = 4096
_ELF = b"\x7fELF"
_ELF_SHARED = 3  # ET_DYN
_ELF_MACHINES = {
    3: "i386",
    8: "mips",
    20: "ppc",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
_MACH_64 = 0xFEEDFACF
_MACH_FAT = (0xCAFEBABE, 0xCAFEBABF)
_MACH_SHARED = 6  # MH_DYLIB
_MACH_MACHINES = {0x01000007: "x86_64", 0x0100000C: "aarch64", 7: "i386", 12: "arm"}
# The names that Python and people have for one architecture.
_SAME = {"arm64": "aarch64", "amd64": "x86_64", "x64": "x86_64"}
# A file of several architectures has two or three; more of them is a Java class.
_MOST_FAT = 16


def file_fault(path: Path, *, platform: str, machine: str) -> str:
    """Why the file is no shared library for this machine; "" where it is one.

    platform: as `sys.platform`. machine: as `platform.machine()`.
    """
    try:
        if path.is_dir():
            return "it is a folder without llama.cpp's library"
        if path.exists() and not path.is_file():  # to open a pipe would wait for its writer
            return "it is no file"
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (FileNotFoundError, ValueError):  # no name of a file has a zero in it
        return "there is no such file"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    wanted = _SAME.get(machine.lower(), machine.lower())
    found = _elf(head) if platform != "darwin" else _mach(head)
    if found is None:
        other = _mach(head) if platform != "darwin" else _elf(head)
        if other is None:
            return "it is no shared library"
        return f"it is a library of another system, and this is {platform}"
    if not found:
        return "it is a program or a part of one, and no shared library"
    if wanted not in found:
        return f"it is built for {', '.join(found)}, and this machine needs {wanted}"
    return ""


def _elf(head: bytes) -> tuple[str, ...] | None:
    """Its architectures; none of a program, None of another file."""
    if len(head) < 20 or head[:4] != _ELF or head[5] not in (1, 2):
        return None
    order = "<" if head[5] == 1 else ">"
    kind, machine = struct.unpack_from(f"{order}HH", head, 16)
    if kind != _ELF_SHARED:
        return ()
    # Some architectures have one number and two byte orders.
    name = _ELF_MACHINES.get(machine, f"architecture {machine}")
    if name == "ppc64" and order == "<":
        name = "ppc64le"
    return (name,)


def _mach(head: bytes) -> tuple[str, ...] | None:
    if len(head) < 16:
        return None
    if struct.unpack_from(">I", head)[0] in _MACH_FAT:
        return _fat(head)
    magic, machine, _, kind = struct.unpack_from("<IIII", head)
    if magic != _MACH_64:
        return None
    if kind != _MACH_SHARED:
        return ()
    return (_MACH_MACHINES.get(machine, f"architecture {machine}"),)


def _fat(head: bytes) -> tuple[str, ...] | None:
    magic, count = struct.unpack_from(">II", head)
    entry_bytes = 20 if magic == _MACH_FAT[0] else 32
    if not 0 < count <= _MOST_FAT or len(head) < 8 + count * entry_bytes:
        return None
    machines = [struct.unpack_from(">I", head, 8 + at * entry_bytes)[0] for at in range(count)]
    return tuple(_MACH_MACHINES.get(one, f"architecture {one}") for one in machines)
