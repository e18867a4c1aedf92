"""A driver that loses its device: a layer of Vulkan, compiled from `lost_device.c`.

Not a test. Mesa's software device does not lose itself, and no call loses a device. So a layer
between the loader and the driver answers as a driver does after a reset, once, when it is told to.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

_LAYER = "VK_LAYER_UMAD_lost_device"


@dataclass(frozen=True, slots=True)
class LostDevice:
    """A layer that waits for its signal."""

    # While it is there, the device is lost at the next call.
    signal: Path
    # For the process that computes.
    environment: dict[str, str]

    def lose(self) -> None:
        """Lose the device of whoever computes next."""
        self.signal.touch()


def lost_device(folder: Path, *, at: str) -> LostDevice:
    """Compile the layer into `folder`. at: the function of Vulkan that says so."""
    library = folder / "libVkLayer_lost_device.so"
    source = Path(__file__).with_name("lost_device.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    layer = {
        "name": _LAYER,
        "type": "GLOBAL",
        "library_path": str(library),
        "api_version": "1.3.0",
        "implementation_version": "1",
        "description": "loses its device, once",
    }
    manifest = {"file_format_version": "1.2.0", "layer": layer}
    (folder / "lost_device.json").write_text(json.dumps(manifest))
    signal = folder / "lose"
    return LostDevice(
        signal,
        {
            "VK_LAYER_PATH": str(folder),
            "VK_INSTANCE_LAYERS": _LAYER,
            "LOSE_DEVICE_AT": at,
            "LOSE_DEVICE_FILE": str(signal),
        },
    )
