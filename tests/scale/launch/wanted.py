"""Deployments for tests: plans of models that umad knows, so nobody is asked."""

from typing import Any

from umad.models.catalogue import Catalogue
from umad.scale.accelerators import parse
from umad.scale.choice import Wish
from umad.scale.launch.deployment import Deployment
from umad.scale.plan import Plan, planned
from umad.scale.reading import find_shape


def plan(
    model: str = "Qwen/Qwen3-14B-FP8", on: str = "H100:1", engine: Any = "vllm", nodes: int = 1
) -> Plan:
    shape = find_shape(model, Catalogue(), offline=True)
    return planned(shape, parse(on, nodes=nodes), Wish(engine=engine))


def deployment(**changed: Any) -> Deployment:
    return Deployment(**{"name": "qwen", "plan": plan(), **changed})
