"""Asks SkyPilot, in SkyPilot's own Python. The only file that imports sky; umad imports it not.

A question is one JSON object on stdin, the answer one on stdout; what SkyPilot itself prints goes
to stderr. SkyPilot's public functions alone are used, those of its API server's client.

    {"do": "prices", "task": YAML}
        {"offers": [{"infra", "instance", "is_spot", "price_per_hour"}, …]}, the cheapest first
    {"do": "launch", "task": YAML, "name", "kind", "secrets": {NAME: VALUE}, "is_dry": bool}
        {}
    {"do": "status", "tasks": [NAME, …], "services": [NAME, …]}
        {"found": {NAME: {"state", "address", "price_per_hour", "job"}}}
    {"do": "down", "name", "kind"}
        {}

An answer {"error": TEXT} is SkyPilot's own refusal. Secrets come on stdin, because others see
arguments and environments. Owner: its one process.
"""

import contextlib
import json
import os
import sys
from typing import Any

# SkyPilot's modules are not to be found among umad's neighbours of this file.
sys.path[:] = [one for one in sys.path if one != os.path.dirname(os.path.abspath(__file__))]

PORT = 8443


def main() -> int:
    """One question."""
    asked = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        found = _DO[asked["do"]](asked)
    # Whatever SkyPilot raises is an answer: its errors have no common class.
    except Exception as error:  # noqa: BLE001
        found = {"error": f"{type(error).__name__}: {error}"}
    with answers:
        json.dump(found, answers)
    return 0


def _task(text: str, secrets: dict[str, str] | None = None) -> Any:
    """Raises SkyPilot's error for a task that it does not take.

    A secret without a value would be looked for in a store that only SkyPilot's servers have, so
    all have one, or there is none.
    """
    import sky  # noqa: PLC0415
    import yaml  # noqa: PLC0415

    values = yaml.safe_load(text)
    if secrets is None:
        # Nor is a service rented by itself.
        values.pop("secrets", None)
        values.pop("service", None)
    else:
        values["secrets"] = {name: secrets[name] for name in values.get("secrets", {})}
    task = sky.Task.from_yaml_config(values)
    task.validate()
    return task


def _prices(asked: dict[str, Any]) -> dict[str, Any]:
    import sky  # noqa: PLC0415
    from sky.client import sdk  # noqa: PLC0415

    task = _task(asked["task"])
    with sky.Dag() as dag:
        dag.add(task)
    # It refuses what nobody has, and shows what it would take.
    sky.stream_and_get(sky.optimize(dag))
    offers: list[dict[str, Any]] = []
    enabled = {one.split("/")[0].lower() for one in sky.get(sdk.enabled_clouds())}
    for one in task.resources:
        place = one.infra
        ((name, count),) = one.accelerators.items()
        if str(place.cloud or "").lower() in ("ssh", "kubernetes"):
            # Machines of one's own: nobody sends a bill for them by the hour.
            offers.append(_offer(str(place.to_str()), "", False, 0.0))
            continue
        # Of the clouds that may be asked alone: each has a catalogue that may have to be fetched.
        wanted = {str(place.cloud).lower()} & enabled if place.cloud else enabled
        listed = sky.get(
            sdk.list_accelerators(
                name_filter=f"^{name}$",
                all_regions=True,
                clouds=sorted(wanted - {"ssh", "kubernetes"}),
            )
        )
        for found in listed.get(name, ()):
            price = found.spot_price if one.use_spot else found.price
            if (
                found.accelerator_count == count
                and (place.region is None or place.region == found.region)
                and price == price  # A price that the catalogue does not have is no number.
            ):
                where = f"{found.cloud.lower()}/{found.region}"
                offers.append(_offer(where, found.instance_type, bool(one.use_spot), price))
    return {"offers": sorted(offers, key=lambda one: float(one["price_per_hour"]))}


def _offer(infra: str, instance: str, is_spot: bool, price: float) -> dict[str, Any]:
    return {
        "infra": infra, "instance": instance, "is_spot": is_spot, "price_per_hour": float(price),
    }  # fmt: skip


def _launch(asked: dict[str, Any]) -> dict[str, Any]:
    import sky  # noqa: PLC0415

    task = _task(asked["task"], asked["secrets"])
    if asked["kind"] == "service":
        # `sky launch` would ignore the service, and `sky serve up` has no dry run.
        if not asked["is_dry"]:
            sky.stream_and_get(sky.serve.up(task, asked["name"]))
        return {}
    sky.stream_and_get(sky.launch(task, cluster_name=asked["name"], dryrun=asked["is_dry"]))
    return {}


def _status(asked: dict[str, Any]) -> dict[str, Any]:
    import sky  # noqa: PLC0415

    found: dict[str, Any] = {}
    if asked["tasks"]:
        refresh = sky.StatusRefreshMode.AUTO
        for one in sky.get(sky.status(asked["tasks"], refresh=refresh)):
            found[one["name"]] = _cluster(one)
    if asked["services"]:
        for one in sky.get(sky.serve.status(asked["services"])):
            found[one["name"]] = {
                "state": str(getattr(one["status"], "value", one["status"])),
                "address": str(one.get("endpoint") or ""),
                "price_per_hour": None,
                "job": "",
            }
    return {"found": found}


def _cluster(one: Any) -> dict[str, Any]:
    import sky  # noqa: PLC0415

    name, state = one["name"], str(getattr(one["status"], "value", one["status"]))
    address, job = "", ""
    if state == "UP":
        address = str(sky.get(sky.endpoints(name, PORT)).get(PORT) or "")
        jobs = sky.get(sky.queue(name))
        if jobs:
            job = str(getattr(jobs[0]["status"], "value", jobs[0]["status"]))
    handle = one["handle"]
    rented = getattr(handle, "launched_resources", None)
    price = None if rented is None else float(rented.get_cost(3600))
    return {"state": state, "address": address, "price_per_hour": price, "job": job}


def _down(asked: dict[str, Any]) -> dict[str, Any]:
    import sky  # noqa: PLC0415

    if asked["kind"] == "service":
        sky.stream_and_get(sky.serve.down(asked["name"]))
        return {}
    # It may have ended itself.
    with contextlib.suppress(sky.exceptions.ClusterDoesNotExist):
        sky.stream_and_get(sky.down(asked["name"]))
    return {}


_DO = {"prices": _prices, "launch": _launch, "status": _status, "down": _down}


if __name__ == "__main__":
    sys.exit(main())
