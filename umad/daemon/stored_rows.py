"""Builds the rows of models that are not loaded and that a request would load (`lazy_load`).

They are listed beside the loaded ones where somebody asks for them: for `/v1/models` and
`/api/tags`, whose clients offer their users what the list has. Their facts are those of their
headers, which a thread reads once for each file. Adapters are not among them, nor what cannot be
served, nor `nano`, which nobody looks for.
Not: who may see them (`umad.daemon.authority`). Owner: the daemon's event loop.
"""

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from umad.adapters import parted
from umad.daemon.names import NANO, ModelFile, ModelNames
from umad.errors import UnknownModel
from umad.models.facts import FileFacts
from umad.models.files import ModelFiles
from umad.models.found import FoundModel
from umad.models.library import Library
from umad.models.presets import SavedPresets
from umad.preset import Preset

# The state of such a model, beside those of `umad.daemon.engine_state`.
UNLOADED = "unloaded"
# Nobody chooses among more, and an answer has an end.
MOST_ROWS = 1000
# Each is looked for.
_MOST_PRESETS = 200

Row = Mapping[str, Any]
# A file, and when it was last written.
_Key = tuple[FoundModel, int | None]


class StoredRows:
    """The rows of one daemon's models that are not loaded. is_on: requests load them."""

    def __init__(self, names: ModelNames, library: Library, *, is_on: bool) -> None:
        self._names = names
        self._library = library
        self._is_on = is_on
        store = library.store
        self._saved = None if store is None else SavedPresets(store.folder)
        # Saved ones, by name, as they were last seen: the catalogue may have them still.
        self._were_saved: dict[str, Preset] = {}
        if self._saved is not None:
            self._were_saved.update(self._saved.current().items())
        # None for what is not listed.
        self._known: dict[_Key, Row | None] = {}
        # One at a time reads headers.
        self._turn = asyncio.Lock()

    async def rows(self, besides: Collection[str]) -> Sequence[Row]:
        """The rows, in the order of `umad ls`. besides: names of models that are loaded."""
        if not self._is_on:
            return ()
        found = {
            name: (_model(file), file.modified_s())
            for name, file in self._names.all().items()
            if name != NANO and name not in besides and not file.problem
        }
        async with self._turn:
            fresh = [key for key in found.values() if key not in self._known]
            if fresh:
                described = await asyncio.to_thread(
                    lambda: list(self._library.described_of([model for model, _ in fresh]))
                )
                for key, (model, facts) in zip(fresh, described, strict=True):
                    self._known[key] = _row(model, facts, key[1])
            # What is no longer there is forgotten.
            here = set(found.values())
            self._known = {key: row for key, row in self._known.items() if key in here}
            rows = [self._known[key] for key in found.values()]
        return [row for row in rows if row is not None][:MOST_ROWS]

    def with_presets(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows, each with the names of the presets that mean its model, whatever they call
        it: a name, an alias or a reference.
        """
        meant: dict[str, list[str]] = {}
        for preset in self._presets()[:_MOST_PRESETS]:
            with contextlib.suppress(UnknownModel):  # several may be meant
                found = self._names.find(parted(preset.model)[0])
                if found is not None:
                    meant.setdefault(found.name, []).append(preset.name)
        return [
            {**row, "presets": meant[row["name"]]} if row["name"] in meant else row for row in rows
        ]

    def _presets(self) -> list[Preset]:
        """Those that people have written down, and those that are saved now: commands save and
        remove some, too.
        """
        known = self._library.catalogue.presets
        if self._saved is None:
            return list(known.values())
        now = self._saved.current()
        self._were_saved.update(now.items())
        written = {name: one for name, one in known.items() if self._were_saved.get(name) != one}
        return list({**now, **written}.values())


def _model(file: ModelFile) -> FoundModel:
    return FoundModel(
        name=file.name,
        files=ModelFiles(parts=(file.path,), adapters=file.adapters),
        place="folder",
        size_bytes=file.size_bytes,
    )


def _row(model: FoundModel, facts: FileFacts | None, modified_s: int | None) -> Row | None:
    """A row under the names that an engine's facts have; None for what no request would load."""
    if facts is None or model.problem or model.kind not in ("model", "speech"):
        return None
    return {
        "name": model.name,
        "state": UNLOADED,
        "path": str(model.files.main),
        "size_bytes": model.size_bytes or None,
        "modified_s": modified_s,
        "architecture": facts.architecture,
        "description": f"{facts.architecture} {model.quantization}".strip(),
        "n_params": facts.n_params or None,
        "n_layer": facts.n_layers or None,
        "n_embd": facts.width or None,
        "n_vocab": facts.vocabulary or None,
        "n_ctx_train": facts.trained_tokens or None,
        "has_chat_template": facts.has_template,
        "takes_tools": facts.takes_tools,
        "generates": not facts.embeds and model.kind == "model",
        "transcribes": model.kind == "speech",
    }
