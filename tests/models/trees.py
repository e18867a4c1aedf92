"""Builds folders of models as other programs lay them out. Not a test.

Every builder takes the folder to build in and the bytes of a model, and returns the folder that the
program calls its own.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def hub_cache(
    at: Path, repository: str, files: Mapping[str, bytes], *, commit: str = COMMIT
) -> Path:
    """A cache of the hub: files by their paths in a repository."""
    folder = at / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "blobs").mkdir(exist_ok=True)
    for name, data in files.items():
        blob = folder / "blobs" / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data)
        link = folder / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return at


def ollama(at: Path, name: str, layers: Mapping[str, bytes]) -> Path:
    """Ollama's folder with one model. name: host/namespace/model/tag; layers: by kind."""
    (at / "blobs").mkdir(parents=True, exist_ok=True)
    rows = []
    for kind, data in layers.items():
        digest = hashlib.sha256(data).hexdigest()
        (at / "blobs" / f"sha256-{digest}").write_bytes(data)
        media = f"application/vnd.ollama.image.{kind}"
        rows.append({"mediaType": media, "digest": f"sha256:{digest}", "size": len(data)})
    manifest = at / "manifests" / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": rows}))
    return at


def lm_studio(home: Path, repository: str, files: Mapping[str, bytes]) -> Path:
    """LM Studio's home with one model."""
    folder = home / "models" / repository
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return home


def llama_cpp(at: Path, files: Mapping[str, bytes]) -> Path:
    """llama.cpp's old cache."""
    at.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (at / name).write_bytes(data)
    return at


def machine(home: Path, model: bytes) -> Mapping[str, str]:
    """A user's home with one model in each of the four places, and the environment that leads
    there.
    """
    hub_cache(
        home / ".cache" / "huggingface" / "hub",
        "org/Hub-1B-GGUF",
        {"Hub-1B-Q4_K_M.gguf": model, "README.md": b"a card"},
    )
    llama_cpp(
        home / ".cache" / "llama.cpp",
        {
            "org_Old-1B-GGUF_Old-1B-Q8_0.gguf": model,
            "manifest=org=Old-1B-GGUF=latest.json": b"{}",
        },
    )
    ollama(
        home / ".ollama" / "models",
        "registry.ollama.ai/library/lama/1b",
        {"model": model, "template": b"{{ .Prompt }}", "license": b"MIT"},
    )
    lm_studio(home / ".lmstudio", "maker/Studio-1B-GGUF", {"Studio-1B-Q6_K.gguf": model})
    return {"HOME": str(home)}


NAMES = ("Hub-1B-Q4_K_M", "Old-1B-Q8_0", "lama:1b", "Studio-1B-Q6_K")


def digest_of(folder: Path) -> str:
    """A digest of everything in a folder that writing there would change: names, links, bytes,
    modes and times.
    """
    seen = hashlib.sha256()
    for path in sorted([folder, *folder.rglob("*")]):
        found = path.lstat()
        seen.update(f"{path.relative_to(folder)} {found.st_mode} {found.st_mtime_ns}".encode())
        if path.is_symlink():
            seen.update(os.readlink(path).encode())
        elif path.is_file():
            seen.update(path.read_bytes())
    return seen.hexdigest()
