"""Finds what a model's card puts before a text, by the task that the vector is for.

The user's own file of models comes first, then the catalogue's entry of the model: by its name, by
where it was fetched from, or by the name that its maker wrote into the file. A model of which
nothing is known is refused, because a vector without the words that its model was trained with
looks like any other and finds less.

Not: the catalogue itself (`umad.models.catalogue`). Owner: the daemon's event loop.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from umad.embedding import EmbedRequest, task_named
from umad.errors import BadRequest
from umad.models.catalogue import Catalogue, CatalogueEntry
from umad.models.library import Library
from umad.models.reference import parse

_QUOTED_CHARS = 64


class TaskPrefixes:
    """The prefixes of one daemon's models. library: the models that may be loaded by name, with
    their catalogue.
    """

    def __init__(self, library: Library | None) -> None:
        self._library = library
        self._catalogue = Catalogue() if library is None else library.catalogue

    def of(self, request: EmbedRequest, *, name: str, path: Path, title: str) -> str:
        """The prefix of each text of `request`, for the model of that name, file, and maker's name.
        Raises `BadRequest` where none is known for the request's task.
        """
        if request.task is None:
            return ""
        known = self._known(name, path, title)
        if known is None:
            raise BadRequest(
                f"umad does not know what {name} wants before a text: write it into models.yaml "
                "under prefixes, or put it there yourself and leave the task out",
                field="task",
            )
        prefix = known.get(task_named(request.task))
        if prefix is None:
            raise BadRequest(
                f"{name} has no task {request.task[:_QUOTED_CHARS]!r}; it has "
                f"{', '.join(known) or 'none'}",
                field="task",
            )
        return prefix

    def _known(self, name: str, path: Path, title: str) -> Mapping[str, str] | None:
        own = self._catalogue.prefixes.get(name)
        if own is not None:
            return own
        entry = self._entry(name, path, title)
        return None if entry is None else entry.prefixes

    def _entry(self, name: str, path: Path, title: str) -> CatalogueEntry | None:
        catalogue = self._catalogue
        by_name = catalogue.entries.get(name.lower())
        if by_name is not None:
            return by_name
        source = self._source(path)
        if source:
            with contextlib.suppress(BadRequest):  # a record may say anything of where it is from
                asked = parse(source)
                found = catalogue.of_repository(asked.repository) if asked.kind == "hub" else None
                if found is not None:
                    return found
        return catalogue.titled(title)

    def _source(self, path: Path) -> str:
        models = () if self._library is None else self._library.models()
        return next((one.source for one in models if one.files.main == path), "")
