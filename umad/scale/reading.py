"""Finds the shape of a model for a path or a name. The only module here that reads or asks anybody.

    ./config.json, a folder of a repository     its config.json, and the headers of its safetensors
    ./model.gguf, split ones too                its header
    org/repo, hf:org/repo                       the hub's config.json and what it knows of the
                                                safetensors; without a network, a known model
    a name of umad's catalogue or of `umad ls`  the GGUF that is here; else the model that the
                                                catalogue's repository was made from

What the weights take is read, never guessed, where files or the hub say it: `model.safetensors.
index.json`, the headers themselves, or the hub's count of parameters by type. Blocks for some
seconds at most. Raises the errors of `umad.models.fetching.hub`, in one line.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umad.errors import BadRequest, FetchFailed, ModelLoadFailed, UnknownModel
from umad.models.catalogue import Catalogue
from umad.models.gguf import GgufHeader, parts, read_header
from umad.models.reference import ModelReference, is_path, parse
from umad.scale.gguf_shape import shape_of_gguf
from umad.scale.hf_config import shape_of
from umad.scale.known_models import is_gated, known_config, near
from umad.scale.shape import ModelShape

CONFIG = "config.json"
_INDEX = "model.safetensors.index.json"
# A config.json is some kilobytes; the index of the largest model 10 MB.
_MOST_CONFIG_BYTES = 2**22
_MOST_INDEX_BYTES = 2**26
# The safetensors format allows 100 MB.
_MOST_HEADER_BYTES = 100_000_000


def find_shape(
    text: str, catalogue: Catalogue, *, gguf_here: Path | None = None, offline: bool = False
) -> ModelShape:
    """The shape of the model that a text means. Raises `UnknownModel`, which names near ones.

    gguf_here: the file of a model of this machine that has this name. offline: known models alone.
    """
    if _is_place(text):
        return _of_place(_path(text), name=_folder_name(text))
    if gguf_here is not None:
        return _of_gguf(gguf_here, name=text)
    reference = parse(text)
    if reference.kind == "catalogue":
        reference = _meant(reference, catalogue, text)
    if reference.kind != "hub":
        raise UnknownModel(
            f"{text[:80]!r} has no config.json to read: name a repository of the hub (org/repo), "
            "a folder, or a GGUF file",
            field="model",
        )
    found = _repository(reference.repository, offline=offline)
    return shape_of(
        found.config,
        name=found.name,
        weights_bytes=found.weights_bytes,
        weights_source=found.weights_source,
        is_gated=found.is_gated,
    )


def find_config(text: str, *, offline: bool = False) -> tuple[str, Mapping[str, Any], int]:
    """A draft model's name, config.json, and the bytes of its weights (0 where nobody says)."""
    if _is_place(text):
        folder = _path(text)
        path = folder / CONFIG if folder.is_dir() else folder
        return _folder_name(text), _config_file(path), _weights_bytes(path.parent)[0]
    reference = parse(text)
    if reference.kind != "hub":
        known = known_config(text)
        if known is None:
            raise _unknown(text)
        return known[0], known[1], 0
    found = _repository(reference.repository, offline=offline)
    return found.name, found.config, found.weights_bytes


# -- files -----------------------------------------------------------------------------------------


def _is_place(text: str) -> bool:
    if is_path(text) or text.lower().endswith(".json"):
        return True
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long to be a path, or with characters that none has
        return False


def _folder_name(text: str) -> str:
    """What an engine is given: the folder, where its config.json was named."""
    return (text.removesuffix(CONFIG).rstrip("/") or ".") if Path(text).name == CONFIG else text


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # "~somebody", whom the machine does not have
        raise ModelLoadFailed(f"{text} does not exist") from None


def _of_place(path: Path, *, name: str) -> ModelShape:
    if path.suffix.lower() == ".gguf":
        return _of_gguf(path, name=name)
    if path.is_dir():
        path = path / CONFIG
        if not path.exists():
            raise BadRequest(f"{name}: there is no {CONFIG} in it", field="model")
    config = _config_file(path)
    n_bytes, source = _weights_bytes(path.parent)
    return shape_of(config, name=name, weights_bytes=n_bytes, weights_source=source)


def _of_gguf(path: Path, *, name: str) -> ModelShape:
    header = read_header(path)
    files = parts(path, header)
    if len(files) > 1:
        headers = [header, *(read_header(one) for one in files[1:])]
        header = GgufHeader(
            metadata=header.metadata,
            array_lengths=header.array_lengths,
            tensors=tuple(one for part in headers for one in part.tensors),
            data_at=header.data_at,
            file_bytes=sum(part.file_bytes for part in headers),
        )
    return shape_of_gguf(header, name=name)


def _config_file(path: Path) -> Mapping[str, Any]:
    return _json_map(_bytes_of(path, _MOST_CONFIG_BYTES), str(path))


def _bytes_of(path: Path, most: int) -> bytes:
    try:
        if not path.is_file():
            raise ModelLoadFailed(f"{path} {'is no file' if path.exists() else 'does not exist'}")
        with path.open("rb") as file:
            found = file.read(most + 1)
    except OSError as error:
        raise ModelLoadFailed(f"{path} cannot be read: {error.strerror}") from error
    if len(found) > most:
        raise ModelLoadFailed(f"{path} has more than {most} bytes, as no such file does")
    return found


def _json_map(raw: bytes, where: str) -> Mapping[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadRequest(f"{where} is no JSON", field="model") from None
    if not isinstance(found, dict):
        raise BadRequest(f"{where} is no map of fields", field="model")
    return found


def _weights_bytes(folder: Path) -> tuple[int, str]:
    """The bytes of the tensors in a folder, and where that is from; 0 where there are none."""
    files = sorted(folder.glob("*.safetensors"))
    # Some makers lay the same weights beside them once more, in a format of their own.
    files = [one for one in files if one.name.startswith("model")] or files
    if files:
        try:
            return sum(_safetensors_bytes(one) for one in files), "headers of the safetensors"
        except (OSError, ValueError, struct.error, RecursionError):
            raise ModelLoadFailed(f"{folder}: a header of its safetensors is damaged") from None
    index = folder / _INDEX
    if index.is_file():
        said = _json_map(_bytes_of(index, _MOST_INDEX_BYTES), str(index)).get("metadata")
        total = said.get("total_size") if isinstance(said, dict) else None
        if isinstance(total, int | float) and math.isfinite(total) and total > 0:
            return int(total), _INDEX
    return 0, ""


def _safetensors_bytes(path: Path) -> int:
    """The bytes of a file's tensors: 8 bytes of length, then JSON with the place of each.

    https://github.com/huggingface/safetensors#format
    """
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > _MOST_HEADER_BYTES:
            raise ValueError(length)
        header = json.loads(file.read(length))
    try:
        places = [one["data_offsets"] for name, one in header.items() if name != "__metadata__"]
        sizes = [int(end) - int(begin) for begin, end in places]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(path) from error
    if min(sizes, default=0) < 0:
        raise ValueError(path)
    return sum(sizes)


# -- names -----------------------------------------------------------------------------------------


def _meant(reference: ModelReference, catalogue: Catalogue, text: str) -> ModelReference:
    """The repository of a name: a known model's, else the catalogue's."""
    known = known_config(text)
    if known is not None:
        return parse(known[0])
    entry = catalogue.get(reference.name)
    if entry is None:
        meant = catalogue.meant(reference.name)
        if meant is not None:
            found = parse(meant)
            return found if found.kind == "hub" else _meant(found, catalogue, found.name)
        try:
            catalogue.entry(reference.name)
        except UnknownModel as error:
            raise _unknown(text, more=error.message) from None
        raise _unknown(text)
    return parse(entry.repository)


def _unknown(text: str, *, more: str = "") -> UnknownModel:
    alike = near(text)
    hint = f"; did you mean {' or '.join(alike)}?" if alike else ""
    return UnknownModel(more + hint if more else f"{text[:80]!r} is not known{hint}", field="model")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repository:
    """What a repository says of its model."""

    name: str
    config: Mapping[str, Any]
    # 0 where nobody counted.
    weights_bytes: int = 0
    weights_source: str = ""
    is_gated: bool = False


def _repository(name: str, *, offline: bool) -> _Repository:
    """What the hub says; what umad knows where the hub cannot be asked."""
    known = known_config(name)
    if offline:
        if known is None:
            raise _unknown(
                name, more=f"umad itself does not know {name[:80]}, and --offline asks nobody else"
            )
        return _known(*known)
    from umad.models.fetching.hub import Hub, HubAccess  # noqa: PLC0415  (a second to import)

    hub = Hub(HubAccess.of_client())
    try:
        found = hub.config(name)
        if found.base and (found.has_gguf or not found.text):
            # The engines serve what a GGUF repository was made from.
            name = found.base
            known = known_config(name)
            found = hub.config(name)
    except FetchFailed:
        # No network, or a licence that nobody accepted yet: a known model needs neither.
        if known is None:
            raise
        return _known(*known)
    if not found.text:
        raise UnknownModel(f"{name} has no {CONFIG}, so nobody knows its shape", field="model")
    if len(found.text) > _MOST_CONFIG_BYTES:
        raise BadRequest(f"{name}: its {CONFIG} is too long to be one", field="model")
    return _Repository(
        name=name,
        config=_json_map(found.text, f"{name}: {CONFIG}"),
        weights_bytes=found.weights_bytes,
        weights_source="the hub's count of weights" if found.weights_bytes else "",
        is_gated=found.is_gated,
    )


def _known(name: str, config: Mapping[str, Any]) -> _Repository:
    return _Repository(name=name, config=config, is_gated=is_gated(name))
