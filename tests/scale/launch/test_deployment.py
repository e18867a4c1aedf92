"""What may be started, and what is refused before anything is rented."""

from typing import Any

import pytest

from tests.scale.launch.wanted import deployment, plan
from umad.errors import BadRequest
from umad.scale.launch.deployment import Cache, cache_of, check


@pytest.mark.parametrize(
    ("changed", "says", "field"),
    [
        ({"name": "Qwen"}, "no name for a deployment", "name"),
        ({"name": "../x"}, "no name for a deployment", "name"),
        ({"name": "router"}, "no name for a deployment", "name"),
        ({"name": "a" * 31}, "30 at most", "name"),
        ({"infra": "aws; rm -rf /"}, "no place as SkyPilot writes them", "infra"),
        ({"infra": "ssh/rack", "uses_spot": True}, "no spot machines", "spot"),
        ({"replicas": 2}, "replicas are a service", "replicas"),
        ({"replicas": 0}, "1 to 64", "replicas"),
        ({"idle_minutes": 0}, "idle is 0", "idle"),
        ({"disk_gb": -1}, "disk is -1", "disk"),
        ({"kind": "service"}, "--plain-hop accepts that", "service"),
        (
            {"kind": "service", "accepts_plain_hop": True, "networks": ("10.0.0.0/8",)},
            "--allow works without --service",
            "allow",
        ),
        (
            {"kind": "service", "accepts_plain_hop": True, "in_team": True},
            "--join works without --service",
            "join",
        ),
        ({"networks": ("10.0.0.300/8",)}, "is no network", "allow"),
        # Bits beyond the mask are a slip of a finger: it would let others in.
        ({"networks": ("10.0.0.1/8",)}, "is no network", "allow"),
        ({"cache": Cache(kind="volume", name="A B")}, "no name of a volume", "cache"),
    ],
)
def test_what_cannot_be_is_refused_and_the_field_is_named(
    changed: dict[str, Any], says: str, field: str
) -> None:
    with pytest.raises(BadRequest, match=says) as caught:
        check(deployment(**changed))

    assert caught.value.field == field


def test_a_model_that_does_not_fit_is_not_started_and_what_would_fit_is_said() -> None:
    wanted = deployment(plan=plan("meta-llama/Llama-3.1-70B-Instruct", "A100:1"))

    with pytest.raises(BadRequest, match="what would fit: A100:4"):
        check(wanted)


def test_several_machines_for_one_model_are_not_started() -> None:
    wanted = deployment(plan=plan("deepseek-ai/DeepSeek-V3", "H100:8", nodes=2))

    with pytest.raises(BadRequest, match="one machine at a time"):
        check(wanted)


def test_machines_for_which_no_package_is_known_are_not_started() -> None:
    wanted = deployment(plan=plan("Qwen/Qwen2.5-7B-Instruct", "MI300X:1"))

    with pytest.raises(BadRequest, match="for NVIDIA's accelerators"):
        check(wanted)


@pytest.mark.parametrize("text", ["bucket", "disk:x", ":x", ""])
def test_a_cache_is_a_volume_or_a_bucket(text: str) -> None:
    with pytest.raises(BadRequest, match="volume:NAME or bucket:NAME"):
        cache_of(text)

    assert cache_of("volume:weights") == Cache(kind="volume", name="weights")


def test_what_is_right_is_taken() -> None:
    check(deployment(infra="aws/us-east-1", uses_spot=True, networks=("10.0.0.0/8", "::1/128")))
    check(deployment(infra="ssh/rack", in_team=True, cache=Cache(kind="bucket", name="weights")))
    check(deployment(kind="service", replicas=3, accepts_plain_hop=True, uses_spot=True))
