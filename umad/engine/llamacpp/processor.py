"""Names the processor and everything else that decides which of its instructions work.

The names become part of files. Each function does its best, and returns nothing where the platform
has no such thing.
"""

import hashlib
import logging
import platform
import subprocess
import sys
from pathlib import Path

log = logging.getLogger(__name__)

_ASK_S = 30.0


def processor_name() -> str:
    """The processor's name, as exactly as the platform tells it."""
    if sys.platform == "darwin":
        name = _sysctl("machdep.cpu.brand_string")
    else:
        name = _cpuinfo().get("model name", "")
    return name or platform.processor() or platform.machine()


def has_instruction(flag: str) -> bool:
    """True if Linux says that the processor has an instruction; it may still not work."""
    return flag in _cpuinfo().get("flags", "").split()


def instructions_identity() -> str:
    """A text that changes when other instructions may work.

    It holds the processor, the flags it is said to have, its microcode, the kernel, and the boot,
    because a virtual machine may run on other hardware each time it starts.
    """
    facts = _cpuinfo()
    flags = facts.get("flags") or facts.get("Features") or _sysctl("machdep.cpu.features")
    parts = {
        "flags": hashlib.sha256(flags.encode()).hexdigest()[:16] if flags else "",
        "microcode": facts.get("microcode", ""),
        "kernel": f"{platform.system()} {platform.release()}",
        "boot": _read(Path("/proc/sys/kernel/random/boot_id")).strip()
        or _sysctl("kern.bootsessionuuid"),
    }
    told = "; ".join(f"{name} {value}" for name, value in parts.items() if value)
    return f"{processor_name()}; {told}"


def _cpuinfo() -> dict[str, str]:
    """The facts that Linux tells of the first core."""
    first, _, _ = _read(Path("/proc/cpuinfo")).partition("\n\n")
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _sysctl(name: str) -> str:
    """Ask sysctl(8), with a name of sysctl(3). macOS only."""
    if sys.platform != "darwin":
        return ""
    try:
        question = ["/usr/sbin/sysctl", "-n", name]
        return subprocess.check_output(
            question, text=True, timeout=_ASK_S, stderr=subprocess.DEVNULL
        ).strip()
    except (OSError, subprocess.SubprocessError) as error:
        log.info("sysctl says nothing name=%s reason=%s", name, error)
        return ""
