"""examples/kubernetes as a cluster would get it: built by kustomize, and held against schemas.

`make kubernetes-test` installs kubernetes-validate, which has Kubernetes' own schemas of each
version, and names it in KUBERNETES_VALIDATE. It knows no kinds of others: that of an InferencePool
is inferencepool.json, from the CRD of the Gateway API Inference Extension 1.6.0
(config/crd/bases/inference.networking.k8s.io_inferencepools.yaml, Apache-2.0), without its words,
its status and its rules in CEL. No cluster is asked.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

ROOT = Path(__file__).parents[2]
BASE = ROOT / "examples" / "kubernetes"
VALIDATE = os.environ.get("KUBERNETES_VALIDATE", "")
# The oldest that the InferencePool's v1 is made for, and the newest that there are schemas of.
VERSIONS = ("1.31", "1.37")
pytestmark = [
    pytest.mark.skipif(not VALIDATE, reason="make kubernetes-test installs the schemas"),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
]


def built(folder: Path) -> dict[str, dict[str, Any]]:
    """What kustomize makes of a folder, by kind."""
    ended = subprocess.run(
        ["kubectl", "kustomize", str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return {one["kind"]: one for one in yaml.safe_load_all(ended.stdout)}


def refused(objects: list[dict[str, Any]], version: str, folder: Path) -> str:
    """What Kubernetes' own schemas say against them; "" for nothing."""
    path = folder / "objects.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    ended = subprocess.run(
        [VALIDATE, "--strict", "--quiet", "--no-warn", "-k", version, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.stdout + ended.stderr if ended.returncode else ""


def pool_schema() -> dict[str, Any]:
    """The CRD's, where a field that it does not have is refused, as kubectl does."""

    def closed(schema: dict[str, Any]) -> dict[str, Any]:
        fields = schema.get("properties")
        if not fields:
            return schema  # metadata, which is every kind's
        return {
            **schema,
            "properties": {name: closed(one) for name, one in fields.items()},
            "additionalProperties": False,
        }

    read: dict[str, Any] = json.loads(Path(__file__).with_name("inferencepool.json").read_text())
    return closed(read)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_finds_nothing_wrong(version: str, tmp_path: Path) -> None:
    objects = built(BASE)
    pool = objects.pop("InferencePool")

    assert set(objects) == {"Deployment", "Service", "ConfigMap"}
    assert refused(list(objects.values()), version, tmp_path) == ""
    jsonschema_rs.validator_for(pool_schema()).validate(pool)


def test_a_misspelt_field_is_found(tmp_path: Path) -> None:
    objects = built(BASE)
    objects["Service"]["spec"]["selectr"] = objects["Service"]["spec"].pop("selector")
    pool = objects["InferencePool"]
    pool["spec"]["endpointPickerReff"] = pool["spec"].pop("endpointPickerRef")

    assert "selectr" in refused([objects["Service"]], VERSIONS[-1], tmp_path)
    assert not jsonschema_rs.validator_for(pool_schema()).is_valid(pool)


def test_the_pickers_configuration_has_a_name_that_stays() -> None:
    made = built(BASE)["ConfigMap"]

    assert made["metadata"]["name"] == "umad-picker"
    assert yaml.safe_load(made["data"]["picker.yaml"])["kind"] == "EndpointPickerConfig"


def test_an_overlay_changes_what_a_cluster_needs(tmp_path: Path) -> None:
    """As docs/kubernetes.md says: the base stays, and an overlay names image, number and model."""
    base = tmp_path / "base"
    shutil.copytree(BASE, base)
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../base"],
        "images": [{"name": "umad", "newName": "registry.example/umad", "newTag": "1"}],
        "replicas": [{"name": "umad", "count": 5}],
    }
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "kustomization.yaml").write_text(yaml.safe_dump(overlay))

    deployment = built(tmp_path / "own")["Deployment"]

    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/umad:1"
    assert deployment["spec"]["replicas"] == 5
    assert refused([deployment], VERSIONS[-1], tmp_path) == ""
