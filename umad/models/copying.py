"""Gives a model a second name. No file is copied: the store keeps one more record.

Not: who may do so (`umad.daemon.authority`).
"""

from collections.abc import Iterable
from dataclasses import replace

from umad.errors import BadRequest, UnknownModel
from umad.models.found import FoundModel
from umad.models.reference import parse
from umad.models.store import Store, StoredModel


def check_new_name(new: str, taken: Iterable[str], *, field: str = "name") -> None:
    """Raise `BadRequest` where `new` cannot be the name of a model, or is one already."""
    try:
        wanted = parse(new)
    except BadRequest as error:
        raise BadRequest(f"{new!r} cannot be a name: {error.message}", field=field) from None
    if wanted.kind != "catalogue":
        raise BadRequest(f"{new!r} cannot be a name: it has a slash or ends in .gguf", field=field)
    if new in taken:
        raise BadRequest(f"{new} is a model already; remove it first: umad rm {new}", field=field)


def copy(model: FoundModel, new: str, store: Store) -> None:
    """Call a model `new`, too. Raises `Refused` where the store cannot be written, or `BadRequest`
    or `UnknownModel` where another process was faster.
    """
    with store.alone():
        if store.get(new) is not None:  # since it was looked at
            raise BadRequest(f"{new} is a model already; remove it first: umad rm {new}")
        stored = store.listed_as(model.name, model.files) if model.place == "store" else None
        if model.place == "store" and stored is None:
            raise UnknownModel(f"{model.name} was removed meanwhile", field="model")
        store.add(
            replace(stored, name=new)
            if stored
            else StoredModel(name=new, files=model.files, source=model.source, owns_files=False)
        )
