"""examples/kubernetes: files that Kubernetes would take, and gauges that the picker finds."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.examples.kubernetes_schemas import EXTRACTOR, SCHEMAS
from tests.gateway.gateways import LiveGateway, live_gateway
from tests.live import wait_until
from umad.client import Client
from umad.gateway.dialects import ENDPOINTS

FOLDER = Path(__file__).parents[2] / "examples" / "kubernetes"
ENGINE_LABEL = "llm-d.ai/engine-type"


def read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """What runs in a pod, with the second names as well."""
    folder = tmp_path_factory.mktemp("pod")
    keys = folder / "keys.txt"
    keys.write_text("sk-only-for-this-test\n")
    keys.chmod(0o600)
    with live_gateway(
        folder,
        *("nano", "--ctx-size", "2048", "--api-key-file", str(keys)),
        *("--gateway-open-load", "--gateway-load-prefix", "vllm:"),
    ) as made:
        yield made


def picked(text: str, spec: str) -> float:
    """The value of a gauge as the picker takes it: of the first sample that matches."""
    families = {one.name: one for one in text_string_to_metric_families(text)}
    return float(families[spec].samples[0].value)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_file_has_the_documented_form(name: str) -> None:
    problems = [
        f"{list(one.instance_path)}: {one.message}"
        for one in jsonschema_rs.validator_for(SCHEMAS[name]).iter_errors(read(name))
    ]

    assert problems == []


def test_a_misspelt_field_would_be_found() -> None:
    pool = read("pool.yaml")
    pool["spec"]["endpointPickerReff"] = pool["spec"].pop("endpointPickerRef")

    assert not jsonschema_rs.validator_for(SCHEMAS["pool.yaml"]).is_valid(pool)


def test_the_base_names_every_file_and_the_parts_fit_together() -> None:
    base, deployment = read("kustomization.yaml"), read("deployment.yaml")
    pool, service, picker = read("pool.yaml"), read("service.yaml"), read("picker.yaml")

    named = [*base["resources"], *base["configMapGenerator"][0]["files"], "kustomization.yaml"]
    assert sorted(named) == sorted(one.name for one in FOLDER.iterdir())
    template = deployment["spec"]["template"]
    labels, (container,) = template["metadata"]["labels"], template["spec"]["containers"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        pool["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
    ):
        assert selector.items() <= labels.items()
    (port,) = container["ports"]
    assert pool["spec"]["targetPorts"] == [{"number": port["containerPort"]}]
    volumes = {one["name"] for one in template["spec"]["volumes"]}
    assert {one["name"] for one in container["volumeMounts"]} == volumes
    plugins = {one["type"]: one.get("parameters") for one in picker["plugins"]}
    extractor = plugins["core-metrics-extractor"]
    assert jsonschema_rs.validator_for(EXTRACTOR).is_valid(extractor)
    assert extractor["engineLabelKey"] == ENGINE_LABEL
    assert labels[ENGINE_LABEL] == extractor["engineConfigs"][0]["name"]
    used = {
        one["pluginRef"] for profile in picker["schedulingProfiles"] for one in profile["plugins"]
    } | {one["pluginRef"] for one in picker["dataLayer"]["sources"]}
    assert used | {"core-metrics-extractor"} == set(plugins)


def test_the_container_starts_with_options_that_umad_has() -> None:
    (container,) = read("deployment.yaml")["spec"]["template"]["spec"]["containers"]

    shown = subprocess.run(
        [sys.executable, "-m", "umad", *container["args"], "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert shown.returncode == 0, shown.stderr
    paths = {one.path for one in ENDPOINTS if not one.needs_key}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in paths


def test_the_picker_finds_its_gauges_under_both_names(pod: LiveGateway) -> None:
    picker = read("picker.yaml")
    parameters = {one["type"]: one.get("parameters") for one in picker["plugins"]}
    (engine,) = parameters["core-metrics-extractor"]["engineConfigs"]
    ours = [engine[name] for name in ("queuedRequestsSpec", "runningRequestsSpec", "kvUsageSpec")]
    vllms = ["vllm:num_requests_waiting", "vllm:num_requests_running", "vllm:kv_cache_usage_perc"]

    def loads(names: list[str]) -> list[float]:
        with pod.http() as http:
            said = http.get(parameters["metrics-data-source"]["path"])
        assert said.status_code == 200
        assert said.headers["content-type"].startswith("text/plain")
        return [picked(said.text, name) for name in names]

    before = loads(ours)
    with Client(pod.daemon.socket) as client:
        events = client.generate("def f(", max_tokens=1500, ignore_eos=True, temperature=0)
        for _, _event in zip(range(40), events, strict=False):
            pass
        wait_until(lambda: min(loads(ours)[1:]) > 0, what="a request that runs, and its cells")
        during = loads(ours)
        under_vllms_names = loads(vllms)
        events.close()
    pod.until_idle()

    assert before == [0, 0, 0]
    assert during[0] == 0
    assert 0 < during[2] < 1
    assert under_vllms_names[:2] == [0, 1]
    assert under_vllms_names[2] > 0


def test_a_pod_that_waits_is_seen_to_wait(pod: LiveGateway) -> None:
    """More requests than the pool has cells for: the picker sees the queue."""
    enough = threading.Event()

    def ask(number: int) -> None:
        with Client(pod.daemon.socket) as client:
            for _ in client.generate(f"{number} x" * 200, max_tokens=900, ignore_eos=True):
                if enough.is_set():
                    return

    def load(name: str) -> float:
        return picked(httpx.get(f"{pod.address}/metrics/load", timeout=60).text, name)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for one in threads:
        one.start()
    try:
        wait_until(lambda: load("umad_load_queued") > 0, what="a queue")
        assert load("umad_load_running") >= 1
    finally:
        enough.set()
        for one in threads:
            one.join(120)


def test_nobody_without_a_key_sees_more_than_the_load(pod: LiveGateway) -> None:
    with pod.http() as http:
        assert http.get("/metrics").status_code == 401
        said = http.get("/metrics/load").text
        warm, alive = http.get("/health"), http.get("/api/version")

    assert sorted(line.split()[0] for line in said.splitlines() if line[0] != "#") == [
        "umad_load_kv_utilization",
        "umad_load_queued",
        "umad_load_running",
        "vllm:kv_cache_usage_perc",
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
    ]
    assert (warm.status_code, alive.status_code) == (200, 200)


def test_a_pod_without_its_model_is_alive_and_not_warm(pod: LiveGateway) -> None:
    with Client(pod.daemon.socket) as client, pod.http() as http:
        client.unload("nano")
        cold, alive = http.get("/health"), http.get("/api/version")
        client.load("nano")
        warm = http.get("/health")

    assert (cold.status_code, alive.status_code, warm.status_code) == (503, 200, 200)
