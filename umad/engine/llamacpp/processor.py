"""The processor and whatever else decides which of its instructions work, named for files.

Each function does its best and says nothing where the platform has no such thing.
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
    """The processor's name, as exactly as the platform tells."""
    if sys.platform == "darwin":
        name = _sysctl("machdep.cpu.brand_string")
    else:
        name = _cpuinfo().get("model name", "")
    return name or platform.processor() or platform.machine()


def has_instruction(flag: str) -> bool:
    """Linux says that the processor has it, which does not mean that it works."""
    return flag in _cpuinfo().get("flags", "").split()


def instructions_identity() -> str:
    """Text that is another one where other instructions may work: the processor, the flags it is
    said to have, its microcode, the kernel, and the boot, since a machine may be another virtual
    one each time it starts."""
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
    """What Linux says of the first core."""
    first, _, _ = _read(Path("/proc/cpuinfo")).partition("\n\n")
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _sysctl(name: str) -> str:
    """macOS only: sysctl(8), and the names in sysctl(3)."""
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
