"""SkyPilot's task: what it rents, when it ends, and what it carries.

SkyPilot's own checks of it are in tests/sky.
"""

import subprocess
from typing import Any

import pytest
import yaml

from tests.scale.launch.wanted import deployment, plan
from umad.scale.launch import sky_task
from umad.scale.launch.deployment import Cache


def rendered(**changed: Any) -> dict[str, Any]:
    found = yaml.safe_load(sky_task.render(deployment(**changed), folder="/f", ends_at_s=1234))
    assert isinstance(found, dict)
    return found


def test_a_machine_without_a_job_is_given_back() -> None:
    found = rendered()["resources"]

    assert found["autostop"] == {"idle_minutes": 1, "down": True, "wait_for": "jobs"}
    assert found["accelerators"] == "H100:1"
    assert "use_spot" not in found


def test_a_spot_machine_has_one_on_demand_behind_it() -> None:
    found = rendered(uses_spot=True, infra="aws")["resources"]

    assert [one["use_spot"] for one in found["any_of"]] == [True, False]
    assert {one["infra"] for one in found["any_of"]} == {"aws"}


def test_a_service_falls_back_while_it_runs_and_has_tls_at_its_balancer() -> None:
    found = rendered(kind="service", uses_spot=True, replicas=3)

    policy = found["service"]["replica_policy"]
    assert policy == {"min_replicas": 3, "max_replicas": 3, "dynamic_ondemand_fallback": True}
    assert found["service"]["tls"]["keyfile"] == "/f/tls/key.pem"
    # A replica has no certificate: its balancer speaks plain HTTP to it.
    assert "~/umad-tls" not in found["file_mounts"]


def test_the_budget_s_moment_travels_with_the_machine() -> None:
    assert rendered()["envs"] == {"UMAD_ENDS_AT": "1234"}


def test_weights_stay_in_a_volume_or_a_bucket() -> None:
    volume = rendered(cache=Cache(kind="volume", name="w"))
    bucket = rendered(cache=Cache(kind="bucket", name="w"))

    assert volume["volumes"] == {"/mnt/umad-cache": "w"}
    assert bucket["file_mounts"]["/mnt/umad-cache"] == {"name": "w", "mode": "MOUNT_CACHED"}


def test_the_engine_is_the_version_that_the_plan_follows() -> None:
    assert "vllm==0.33.0" in rendered()["setup"]
    assert "sglang==0.5.23" in rendered(plan=plan(engine="sglang"))["setup"]


@pytest.mark.parametrize("part", ["setup", "run"])
def test_scripts_are_ones_that_a_shell_reads(part: str) -> None:
    read = subprocess.run(["bash", "-n"], input=rendered()[part], text=True, capture_output=True)

    assert (read.returncode, read.stderr) == (0, "")


def test_the_disk_has_room_for_the_weights_twice() -> None:
    small = rendered()["resources"]["disk_size"]
    large = rendered(plan=plan("meta-llama/Llama-3.1-70B-Instruct", "H100:4"))["resources"]

    assert small == 120
    assert large["disk_size"] > 2 * 141


def test_the_same_values_give_the_same_text() -> None:
    assert sky_task.render(deployment(), folder="/f") == sky_task.render(deployment(), folder="/f")
