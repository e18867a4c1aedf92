"""Schemas of the kinds in examples/kubernetes, for the fields that it uses. Not a test.

Written from the documented fields of each kind: the API reference of Kubernetes 1.34
(https://kubernetes.io/docs/reference/kubernetes-api/), of the Gateway API Inference Extension
(https://gateway-api-inference-extension.sigs.k8s.io/reference/spec/), of kustomize, and the READMEs
of the llm-d router's plugins. A field that is not here is refused, so a misspelt one is found.
"""

from typing import Any, Final

_NAME: Final = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"}
_PORT: Final = {"type": "integer", "minimum": 1, "maximum": 65535}
_TEXT: Final = {"type": "string", "minLength": 1}
_COUNT: Final = {"type": "integer", "minimum": 0}
_LABEL: Final = {
    "type": "string",
    "maxLength": 63,
    "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
}
_LABELS: Final = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"pattern": "^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"},
    "additionalProperties": _LABEL,
}
_SIZE: Final = {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?(m|Ki|Mi|Gi|Ti)?$"}


def _map(required: str = "", /, **fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


def _list(items: Any, least: int = 1) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least}


_META = _map("name", name=_NAME, labels=_LABELS)
_MATCH = _map("matchLabels", matchLabels=_LABELS)
_PROBE = _map(
    "httpGet",
    httpGet=_map("path port", path={"type": "string", "pattern": "^/"}, port=_TEXT),
    periodSeconds=_COUNT,
    timeoutSeconds=_COUNT,
    failureThreshold=_COUNT,
)
_PROFILE = _map("type", type={"enum": ["RuntimeDefault", "Unconfined", "Localhost"]})
_CONTAINER = _map(
    "name image",
    name=_NAME,
    image=_TEXT,
    args=_list(_TEXT),
    ports=_list(_map("containerPort", name=_NAME, containerPort=_PORT)),
    env=_list(_map("name value", name=_TEXT, value={"type": "string"})),
    startupProbe=_PROBE,
    readinessProbe=_PROBE,
    livenessProbe=_PROBE,
    resources=_map(requests=_map(cpu=_SIZE, memory=_SIZE), limits=_map(cpu=_SIZE, memory=_SIZE)),
    securityContext=_map(
        allowPrivilegeEscalation={"type": "boolean"},
        readOnlyRootFilesystem={"type": "boolean"},
        capabilities=_map(drop=_list(_TEXT), add=_list(_TEXT)),
    ),
    volumeMounts=_list(
        _map("name mountPath", name=_NAME, mountPath=_TEXT, readOnly={"type": "boolean"})
    ),
)
_VOLUME = {
    **_map(
        "name",
        name=_NAME,
        secret=_map(
            "secretName",
            secretName=_NAME,
            defaultMode={"type": "integer", "minimum": 0, "maximum": 0o777},
        ),
        emptyDir=_map(medium={"enum": ["", "Memory"]}, sizeLimit=_SIZE),
    ),
    "minProperties": 2,
    "maxProperties": 2,
}
_POD = _map(
    "containers",
    terminationGracePeriodSeconds=_COUNT,
    securityContext=_map(
        runAsNonRoot={"type": "boolean"},
        runAsUser=_COUNT,
        runAsGroup=_COUNT,
        fsGroup=_COUNT,
        seccompProfile=_PROFILE,
    ),
    containers=_list(_CONTAINER),
    volumes=_list(_VOLUME),
)


def _kind(api: str, kind: str, required: str, /, **fields: Any) -> dict[str, Any]:
    head = {"apiVersion": {"const": api}, "kind": {"const": kind}}
    return _map(f"apiVersion kind {required}", **head, **fields)


SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "deployment.yaml": _kind(
        "apps/v1",
        "Deployment",
        "metadata spec",
        metadata=_META,
        spec=_map(
            "selector template",
            replicas=_COUNT,
            selector=_MATCH,
            template=_map("metadata spec", metadata=_map("labels", labels=_LABELS), spec=_POD),
        ),
    ),
    "service.yaml": _kind(
        "v1",
        "Service",
        "metadata spec",
        metadata=_META,
        spec=_map(
            "ports",
            selector=_LABELS,
            ports=_list(_map("port", name=_NAME, port=_PORT, targetPort=_TEXT)),
        ),
    ),
    "pool.yaml": _kind(
        "inference.networking.k8s.io/v1",
        "InferencePool",
        "metadata spec",
        metadata=_META,
        spec=_map(
            "selector targetPorts endpointPickerRef",
            selector=_MATCH,
            targetPorts={**_list(_map("number", number=_PORT)), "maxItems": 8},
            endpointPickerRef=_map(
                "name",
                group={"type": "string"},
                kind=_TEXT,
                name=_NAME,
                port=_map("number", number=_PORT),
                failureMode={"enum": ["FailOpen", "FailClose"]},
            ),
        ),
    ),
    "picker.yaml": _kind(
        "llm-d.ai/v1alpha1",
        "EndpointPickerConfig",
        "plugins schedulingProfiles",
        plugins=_list(_map("type", name=_TEXT, type=_TEXT, parameters={"type": "object"})),
        dataLayer=_map(
            "sources",
            sources=_list(
                _map(
                    "pluginRef",
                    pluginRef=_TEXT,
                    extractors=_list(_map("pluginRef", pluginRef=_TEXT)),
                )
            ),
        ),
        schedulingProfiles=_list(
            _map(
                "name plugins",
                name=_TEXT,
                plugins=_list(_map("pluginRef", pluginRef=_TEXT, weight={"type": "number"})),
            )
        ),
    ),
    "kustomization.yaml": _kind(
        "kustomize.config.k8s.io/v1beta1",
        "Kustomization",
        "resources",
        labels=_list(_map("pairs", pairs=_LABELS)),
        resources=_list(_TEXT),
        generatorOptions=_map(disableNameSuffixHash={"type": "boolean"}),
        configMapGenerator=_list(_map("name files", name=_NAME, files=_list(_TEXT))),
    ),
}
EXTRACTOR: Final = _map(
    "engineConfigs",
    engineLabelKey=_TEXT,
    defaultEngine=_TEXT,
    engineConfigs=_list(
        _map(
            "name queuedRequestsSpec runningRequestsSpec kvUsageSpec",
            name=_TEXT,
            queuedRequestsSpec=_TEXT,
            runningRequestsSpec=_TEXT,
            kvUsageSpec=_TEXT,
        )
    ),
)
