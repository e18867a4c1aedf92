"""Finds what is fetched for a name of the catalogue, an alias or a preset. Pure. Not: fetching."""

from dataclasses import replace

from umad.models.catalogue import Catalogue
from umad.models.reference import ModelReference, parse

# From a preset over an alias to a name of the catalogue. A name that leads back to itself ends.
_MOST_STEPS = 4


def meant_by(
    reference: ModelReference, catalogue: Catalogue, *, whole: bool = False
) -> ModelReference:
    """The reference that a name stands for; another reference as it is. Raises `UnknownModel`,
    which names near ones. whole: without the quantization that the catalogue recommends, for
    whoever quantizes by himself.
    """
    for _ in range(_MOST_STEPS):
        if reference.kind != "catalogue":
            return reference
        preset = catalogue.preset(reference.name)
        text = catalogue.meant(reference.name) or (None if preset is None else preset.model)
        if text is None:
            break
        reference = parse(text)
    found = catalogue.entry(reference.name).reference()
    return replace(found, tag="") if whole else found
