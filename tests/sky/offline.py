"""SkyPilot without a network, in SkyPilot's own Python. Not a test; `test_skypilot` runs it.

    python offline.py prepare           in HOME: a catalogue written by hand, and one cloud that is
                                        set up
    python offline.py serve             the same, with SkyPilot's API server
    python offline.py pools             in HOME: a pool of machines of one's own, and a cluster
    python offline.py take < YAML       SkyPilot reads a task; its refusal is the last line
    python offline.py dump < YAML       what SkyPilot's own dump of a task prints

Nothing of SkyPilot is replaced: it finds files and rows where it would have put them itself.
"""

import contextlib
import csv
import json
import os
import sys
from pathlib import Path

CATALOGUE = Path(os.environ["HOME"]) / ".sky/catalogs/v8"
CLOUD = "runpod"
# Instance, accelerator, count, price, price of spot. The price of spot is not always there.
OFFERS = (
    ("1x_H100_SECURE", "H100", 1, 2.99, 1.49),
    ("2x_A100-80GB_SECURE", "A100-80GB", 2, 3.40, 2.20),
    ("1x_L40S_SECURE", "L40S", 1, 0.99, ""),
)
_HEAD = (
    "InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "GpuInfo",
    "Region", "SpotPrice", "Price", "AvailabilityZone",
)  # fmt: skip


def prepare(*, serves: bool = False) -> None:
    """The state that `sky check` and a download of the catalogue leave."""
    for folder in (CLOUD, "common"):
        (CATALOGUE / folder).mkdir(parents=True, exist_ok=True)
    with open(CATALOGUE / CLOUD / "vms.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(_HEAD)
        for name, kind, count, price, spot in OFFERS:
            memory = {"MemoryInfo": {"SizeInMiB": 81920}, "Name": kind, "Count": count}
            about = str({"Gpus": [memory], "TotalGpuMemoryInMiB": 81920 * count})
            rows.writerow((name, kind, count, 16, 200, about, "US", spot, price, "US-1"))
    with open(CATALOGUE / "common" / "accelerators.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("AcceleratorName", "Clouds"))
        for _, kind, *_ in OFFERS:
            rows.writerow((kind, "['RunPod']"))
    if serves:
        start()
    from sky import check, global_user_state  # noqa: PLC0415
    from sky.clouds import cloud  # noqa: PLC0415

    for capability in cloud.CloudCapability:
        global_user_state.set_enabled_clouds([CLOUD], capability, "default")
    allowed = check._get_workspace_allowed_clouds("default")
    global_user_state.set_allowed_clouds(allowed, "default")


def start() -> None:
    """The API server. When it begins it looks which clouds there are: that has to be over."""
    from sky.client import sdk  # noqa: PLC0415
    from sky.server import constants  # noqa: PLC0415

    sdk.api_start()
    # There is none that it could find by itself, which it says as an error.
    with contextlib.suppress(Exception, SystemExit):
        sdk.get(constants.ON_BOOT_CHECK_REQUEST_ID)


def pools() -> None:
    """What `sky ssh up` leaves of a pool, and kubectl of a cluster. Nobody listens there."""
    sky = Path(os.environ["HOME"]) / ".sky"
    (sky / "ssh_node_pools.yaml").write_text("rack:\n  hosts: [192.0.2.7]\n")
    names = ("team", "ssh-rack")
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "team",
        "clusters": [{"name": one, "cluster": {"server": "https://127.0.0.1:1"}} for one in names],
        "users": [{"name": one, "user": {"token": "none"}} for one in names],
        "contexts": [{"name": one, "context": {"cluster": one, "user": one}} for one in names],
    }
    kube = Path(os.environ["HOME"]) / ".kube"
    kube.mkdir(exist_ok=True)
    (kube / "config").write_text(json.dumps(config))


def main(what: str) -> int:
    """One of the five."""
    if what == "pools":
        pools()
        return 0
    if what in ("prepare", "serve"):
        prepare(serves=what == "serve")
        return 0
    import sky  # noqa: PLC0415
    import yaml  # noqa: PLC0415

    try:
        task = sky.Task.from_yaml_config(yaml.safe_load(sys.stdin))
        task.validate()
    except Exception as error:  # noqa: BLE001
        print(f"{type(error).__name__}: {error}")
        return 1
    if what == "dump":
        print(yaml.safe_dump(task.to_yaml_config()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
