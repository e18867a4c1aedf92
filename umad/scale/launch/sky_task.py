"""Writes SkyPilot's task for a deployment. Pure: the same values give the same text.

What the text makes sure of:
    - Secrets are names without values: SkyPilot is given them when it launches.
    - The machine ends. The keeper's end ends the job, and a machine without a job is given back
      (`autostop: {wait_for: jobs, down: true}`); while somebody uses it, the job runs.
    - A machine that may be taken away is tried first, and one that stays where there is none
      (`any_of`); for a service SkyPilot does so while it runs (`dynamic_ondemand_fallback`).
    - Engines are installed at the version that the plan follows. They want Python 3.11 or later,
      and machines often have 3.10; uv brings it. SkyPilot puts uv there itself
      (sky/skylet/constants.py).
"""

from typing import Any

import yaml

from umad.scale.launch.box_files import BOX, CACHE, HOME, RUN, TLS
from umad.scale.launch.deployment import PORT, Deployment
from umad.scale.launch.engine_line import ENVIRONMENT, package

# Digests of keys; and the hub's token, for models behind a licence.
KEYS_SECRET, TOKEN_SECRET = "UMAD_KEYS", "HF_TOKEN"
ENDS_AT = "UMAD_ENDS_AT"
# From the job's end to the machine's: SkyPilot counts whole minutes.
_DOWN_AFTER_MINUTES = 1
# Weights twice (a file in flight, and its place), and the engine's packages.
_ENGINE_DISK_GB = 60
_LEAST_DISK_GB = 120

_SETUP = """\
set -e
command -v haproxy >/dev/null || { sudo apt-get update -qq && sudo apt-get install -y -qq haproxy; }
test -x ~/%(environment)s/bin/python || ~/.local/bin/uv venv --quiet --python 3.11 ~/%(environment)s
~/.local/bin/uv pip install --quiet --python ~/%(environment)s/bin/python '%(package)s'
"""
_RUN = """\
set -e
umask 077
mkdir -p ~/%(run)s
sed "s|%(home)s|$HOME|g" ~/%(box)s/haproxy.cfg > ~/%(run)s/haproxy.cfg
exec ~/%(environment)s/bin/python ~/%(box)s/keeper.py ~/%(box)s/keeper.json
"""


def secret_names(wanted: Deployment) -> tuple[str, ...]:
    """The secrets that a launch needs."""
    names = [KEYS_SECRET]
    if wanted.plan.shape.is_gated:
        names.append(TOKEN_SECRET)
    return tuple(names)


def task(wanted: Deployment, *, folder: str, ends_at_s: int = 0) -> dict[str, Any]:
    """The task as plain values. folder: of this machine, with `box` and `tls` in it."""
    words = {
        "environment": ENVIRONMENT,
        "package": package(wanted.plan.wish.engine),
        "run": RUN,
        "box": BOX,
        "home": HOME,
    }
    made: dict[str, Any] = {
        "name": wanted.name,
        "resources": _resources(wanted),
        "file_mounts": _mounts(wanted, folder),
        "envs": {ENDS_AT: str(ends_at_s)},
        # Without a value here: SkyPilot wants each by --secret, or by update_secrets.
        "secrets": dict.fromkeys(secret_names(wanted)),
        "setup": _SETUP % words,
        "run": _RUN % words,
    }
    if wanted.cache is not None and wanted.cache.kind == "volume":
        made["volumes"] = {CACHE: wanted.cache.name}
    if wanted.kind == "service":
        made["service"] = _service(wanted, folder)
    return made


def render(wanted: Deployment, *, folder: str, ends_at_s: int = 0) -> str:
    """The task as YAML, which `sky launch` and `sky serve up` take."""
    head = (
        f"# Written by umad for {wanted.model}. Secrets are given when it is launched:\n"
        f"# {', '.join(secret_names(wanted))}\n"
    )
    values = task(wanted, folder=folder, ends_at_s=ends_at_s)
    return head + yaml.dump(values, Dumper=_Dumper, sort_keys=False, width=1000)


def _resources(wanted: Deployment) -> dict[str, Any]:
    machines = wanted.plan.machines
    one: dict[str, Any] = {"accelerators": f"{machines.accelerator.name}:{machines.count}"}
    if wanted.infra:
        one["infra"] = wanted.infra
    found: dict[str, Any] = {"ports": PORT, "disk_size": wanted.disk_gb or _disk_gb(wanted)}
    if wanted.kind == "task":
        found["autostop"] = {
            "idle_minutes": _DOWN_AFTER_MINUTES,
            "down": True,
            "wait_for": "jobs",
        }
    if not wanted.uses_spot:
        return {**one, **found}
    if wanted.kind == "service":
        return {**one, "use_spot": True, **found}
    return {**found, "any_of": [{**one, "use_spot": True}, {**one, "use_spot": False}]}


def _service(wanted: Deployment, folder: str) -> dict[str, Any]:
    policy: dict[str, Any] = {"min_replicas": wanted.replicas, "max_replicas": wanted.replicas}
    if wanted.uses_spot:
        policy["dynamic_ondemand_fallback"] = True
    return {
        "readiness_probe": {"path": "/health", "initial_delay_seconds": 3600},
        "replica_policy": policy,
        "load_balancing_policy": "least_load",
        # Of the balancer itself; SkyPilot carries both files to its controller.
        "tls": {"keyfile": f"{folder}/tls/key.pem", "certfile": f"{folder}/tls/cert.pem"},
    }


def _mounts(wanted: Deployment, folder: str) -> dict[str, Any]:
    mounts: dict[str, Any] = {f"~/{BOX}": f"{folder}/box"}
    if wanted.kind == "task":
        mounts[f"~/{TLS}"] = f"{folder}/tls"
    if wanted.cache is not None and wanted.cache.kind == "bucket":
        mounts[CACHE] = {"name": wanted.cache.name, "mode": "MOUNT_CACHED"}
    return mounts


def _disk_gb(wanted: Deployment) -> int:
    """Room for the weights and the engine. The plan's weights are of one accelerator."""
    candidate = wanted.plan.candidate
    split = 1 if candidate is None else candidate.split.tp * candidate.split.pp
    one = 0 if candidate is None else candidate.memory.weights_bytes
    return max(_LEAST_DISK_GB, _ENGINE_DISK_GB + 2 * one * split // 10**9)


class _Dumper(yaml.SafeDumper):
    """Scripts as blocks, as a person writes them."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
