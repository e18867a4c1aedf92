"""Makes the order of a pull from what somebody wrote, checked before anything is fetched. Pure."""

import os.path

from umad.errors import BadRequest
from umad.jobs.job import PullOrder, wish_of
from umad.models.catalogue import Catalogue
from umad.models.meant import meant_by
from umad.models.reference import parse

# Types of whole weights, as tags of repositories name them.
_WHOLE = ("BF16", "F16", "FP16", "F32", "FP32")


def pull_order(
    model: str,
    catalogue: Catalogue,
    *,
    quantize: str | None = None,
    parts: int | None = None,
    bytes_per_s: int | None = None,
    keep_free_bytes: int | None = None,
) -> PullOrder:
    """The order to fetch `model`, and to quantize it where that is wished. It means the same
    wherever it is carried out. Raises `BadRequest`, or `UnknownModel`, which names near ones.
    """
    wish = None if quantize is None else wish_of(quantize)
    reference = meant_by(parse(model), catalogue, whole=wish is not None)
    if reference.kind == "file" and not os.path.isabs(reference.name):
        # The process that carries it out has another working folder, or another user's home.
        raise BadRequest(f"{reference.name}: name the whole path of a file", field="model")
    has_type = reference.kind == "hub" and bool(reference.tag)
    if wish is not None and has_type and reference.tag not in _WHOLE:
        raise BadRequest(
            f"{reference} is quantized already, and doing so again would lose more: name whole "
            f"weights, such as hf:{reference.repository}:BF16, or no type at all",
            field="quantize",
        )
    return PullOrder(
        reference=str(reference),
        asked=model,
        quantize=wish,
        parts=parts,
        bytes_per_s=bytes_per_s,
        keep_free_bytes=keep_free_bytes,
    )
