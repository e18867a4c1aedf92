"""Tells how often llama.cpp copies a row of logits until it lies where it can be read.

llama.cpp copies the rows of every micro-batch into its output buffer, on any device. Where that
buffer is memory which the device writes itself, this is the only copy. Where it is not, because the
device has none or it was not given, a backend with memory of its own copies to such memory first
(`sync_staging` of ggml-vulkan.cpp). llama.cpp's log names the buffer's memory when a context is
made.

Not: copies that umad makes (`umad.engine.mail.step_tally`). Pure.
"""

import re
from collections.abc import Iterable, Sequence

from umad.engine.llamacpp.devices import Device

# llama-context.cpp: " Vulkan_Host  output buffer size =     0.51 MiB"
_OUTPUT = re.compile(r"(\S+) +output buffer size =")
# The processor's own memory.
_PLAIN = "CPU"
# Backends whose devices reach the processor's memory as they do their own.
_REACHES_ALL = ("Metal", "MTL")


def output_memory(lines: Iterable[str]) -> str:
    """The memory of a context's output, as llama.cpp calls it in these lines of its log; "" where
    none of them says."""
    found = [match[1] for line in lines if (match := _OUTPUT.search(line))]
    return found[-1] if found else ""


def row_copies(memory: str, devices: Sequence[Device], *, gpu_layers: int) -> int:
    """The copies of a row that llama.cpp makes. memory: as `output_memory` tells. gpu_layers: as
    the option has it; 0 computes on the processor.
    """
    own = [
        device
        for device in devices
        if device.kind in ("gpu", "igpu") and device.backend not in _REACHES_ALL
    ]
    return 2 if own and gpu_layers and memory in ("", _PLAIN) else 1
