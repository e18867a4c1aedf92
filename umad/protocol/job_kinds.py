"""Reads the requests about jobs and about the models that umad keeps: a part of `parsing`'s table.

A value that is wrong raises `BadRequest` with its field. Not: whether there is such a job or model.
"""

from collections.abc import Mapping
from typing import Any

from umad.asker import Asker
from umad.errors import BadRequest
from umad.protocol import fields, job_requests
from umad.protocol.asking import RequestId
from umad.protocol.fields import FieldReader
from umad.protocol.request_kind import RequestKind
from umad.protocol.sampling_fields import READERS
from umad.request import SAMPLING_FIELDS, SamplingParams

# Bytes that no disk has.
_MOST_BYTES = 2**60
_PULL_RANGES = {
    "parts": (1, 16),
    "bytes_per_s": (1, _MOST_BYTES),
    "keep_free_bytes": (0, _MOST_BYTES),
}
_MODEL: Mapping[str, FieldReader] = {"model": fields.read_model}


def _pull(*, id: RequestId, asker: Asker | None = None, **values: Any) -> job_requests.Pull:
    for name, (least, most) in _PULL_RANGES.items():
        value = values.get(name)
        if value is not None and not least <= value <= most:
            raise BadRequest(f"{name} must be from {least} to {most}", field=name)
    return job_requests.Pull(id=id, asker=asker, **values)


def _preset(*, id: RequestId, asker: Asker | None = None, **values: Any) -> job_requests.SavePreset:
    sampling = {name: values.pop(name) for name in SAMPLING_FIELDS if name in values}
    SamplingParams(**sampling).check()
    return job_requests.SavePreset(id=id, asker=asker, sampling=sampling or None, **values)


# Not what names tokens by their numbers, which mean something to one model alone.
_PRESET: Mapping[str, FieldReader] = {
    name: reader for name, reader in READERS.items() if name != "logit_bias"
}
JOB_KINDS: Mapping[str, RequestKind] = {
    "pull": RequestKind(
        readers={
            "quantize": fields.read_name,
            "parts": fields.read_integer,
            "bytes_per_s": fields.read_integer,
            "keep_free_bytes": fields.read_integer,
            "surroundings": fields.read_name,
            **_MODEL,
        },
        required=("model",),
        build=_pull,
    ),
    "quantize": RequestKind(
        readers={"to": fields.read_name, "name": fields.read_name, **_MODEL},
        required=("model",),
        build=job_requests.Quantize,
    ),
    "jobs": RequestKind(readers={}, build=job_requests.Jobs),
    "job": RequestKind(
        readers={"job": fields.read_name, "after": fields.read_count},
        required=("job",),
        build=job_requests.GetJob,
    ),
    "job.cancel": RequestKind(
        readers={"job": fields.read_name}, required=("job",), build=job_requests.CancelJob
    ),
    "model.remove": RequestKind(
        readers=_MODEL, required=("model",), build=job_requests.RemoveModel
    ),
    "model.copy": RequestKind(
        readers={"name": fields.read_name, **_MODEL},
        required=("model", "name"),
        build=job_requests.CopyModel,
    ),
    "preset.save": RequestKind(
        readers={"name": fields.read_name, "system": fields.read_text, **_MODEL, **_PRESET},
        required=("model", "name"),
        build=_preset,
    ),
}
