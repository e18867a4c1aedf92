"""Turn the standard library into training samples. Pure text: no torch, no tokenizer.

stdlib() -> [Document] -> split() -> samples(epoch) -> [Sample]; a Sample is a tuple of text
pieces that are tokenised apart, so that the model meets token boundaries at places where a
prompt may end. Not a loader for other corpora: a folder given with --extra-corpus is read by
the same rules. Owner: the training script; nothing here keeps state.
"""

from __future__ import annotations

import ast
import hashlib
import random
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

END = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
FIM_PREFIX = "<|fim_prefix|>"
FIM_SUFFIX = "<|fim_suffix|>"
FIM_MIDDLE = "<|fim_middle|>"
SPECIALS = (END, IM_START, IM_END, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE)

HELD_OUT_PERCENT = 3
# Below this a file is mostly a licence line; above it is a generated table.
MIN_BYTES = 200
MAX_BYTES = 600_000
# Test vectors are half digits and escapes: noise to a model this small.
MAX_DIGIT_SHARE = 0.22
# `encodings` is code page tables, near copies of each other: they would flatter the held-out loss.
SKIPPED_FOLDERS = (
    "site-packages",
    "dist-packages",
    "__pycache__",
    "lib2to3/tests/data",
    "encodings",
)

Sample = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One source file: `name` is its path relative to its root, with forward slashes."""

    name: str
    text: str

    @property
    def module(self) -> str:
        return self.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How one epoch is made up. Shares are of documents, not of tokens."""

    fim_share: float = 0.35
    spm_share: float = 0.3  # of the FIM samples; the rest is prefix-suffix-middle
    cut_share: float = 0.5  # of the other documents: cut at places where prompts end
    pairs_per_document: int = 6


def stdlib_root() -> Path:
    """The folder of the running interpreter's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def read(root: Path) -> list[Document]:
    """Every usable Python file under `root`, sorted by name, each text once."""
    documents: list[Document] = []
    seen: set[str] = set()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if any(f"/{folder}/" in f"/{name}" for folder in SKIPPED_FOLDERS):
            continue
        text = _usable_text(path)
        if text is None:
            continue
        digest = hashlib.sha256("".join(text.split()).encode()).hexdigest()
        if digest not in seen:
            seen.add(digest)
            documents.append(Document(name=name, text=text))
    return documents


def _usable_text(path: Path) -> str | None:
    raw = path.read_bytes()
    if not MIN_BYTES <= len(raw) <= MAX_BYTES:
        return None
    try:
        text = raw.decode("utf-8").replace("\r\n", "\n")
        ast.parse(text)
    except (UnicodeDecodeError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    noise = sum(character.isdigit() or character == "\\" for character in text)
    if noise > MAX_DIGIT_SHARE * len(text) or any(special in text for special in SPECIALS):
        return None
    return text


def is_held_out(name: str) -> bool:
    """Decided by the name alone, so that a file stays on its side across versions."""
    digest = hashlib.sha256(f"nano:{name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < HELD_OUT_PERCENT


def split(documents: Iterable[Document]) -> tuple[list[Document], list[Document]]:
    """(training, held out)."""
    train: list[Document] = []
    held_out: list[Document] = []
    for document in documents:
        (held_out if is_held_out(document.name) else train).append(document)
    return train, held_out


def sha256(documents: Iterable[Document]) -> str:
    """One hash over names and texts, in order of names."""
    total = hashlib.sha256()
    for document in sorted(documents, key=lambda d: d.name):
        total.update(hashlib.sha256(document.name.encode()).digest())
        total.update(hashlib.sha256(document.text.encode()).digest())
    return total.hexdigest()


def fim(text: str, rng: random.Random, *, spm: bool) -> str:
    """Reorder `text` for fill-in-the-middle (Bavarian et al. 2022; Qwen2.5-coder's tokens).

    Most middles end where a line ends, as an editor asks for; the others end anywhere.
    """
    start, stop = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
    if rng.random() < 0.7:
        # A few lines at most: the middles of an editor are short.
        line_ends = [i for i, c in enumerate(text) if c == "\n" and i >= start][:6]
        stop = rng.choice(line_ends) if line_ends else len(text)
    prefix, middle, suffix = text[:start], text[start:stop], text[stop:]
    if spm:
        return f"{FIM_SUFFIX}{suffix}{FIM_PREFIX}{prefix}{FIM_MIDDLE}{middle}{END}"
    return f"{FIM_PREFIX}{prefix}{FIM_SUFFIX}{suffix}{FIM_MIDDLE}{middle}{END}"


def line_chunks(text: str, rng: random.Random) -> list[str]:
    """Cut at line ends into pieces of 300 to 1,400 characters: about one training row."""
    chunks: list[str] = []
    current: list[str] = []
    size, limit = 0, rng.randint(300, 1400)
    for line in text.splitlines(keepends=True):
        current.append(line)
        size += len(line)
        if size >= limit:
            chunks.append("".join(current))
            current, size, limit = [], 0, rng.randint(300, 1400)
    if current:
        chunks.append("".join(current))
    return chunks


def prompt_cuts(text: str, rng: random.Random) -> Sample:
    """The same text in pieces, cut where prompts end: after `:`, `(`, a newline or an indent."""
    pieces: list[str] = []
    start = 0
    while start < len(text):
        stop = start + rng.randint(100, 900)
        if rng.random() < 0.6 and (newline := text.find("\n", stop)) >= 0:
            stop = newline + rng.randint(0, 1)
            if rng.random() < 0.3:
                while stop < len(text) and text[stop] == " ":
                    stop += 1
        pieces.append(text[start:stop])
        start = stop
    return tuple(piece for piece in pieces if piece)


def samples(
    train: Sequence[Document], pairs: Sequence[str], *, mix: Mix, seed: int, epoch: int
) -> list[Sample]:
    """All samples of one epoch, shuffled; the same seed and epoch give the same list."""
    rng = random.Random(f"{seed}/{epoch}")
    result: list[Sample] = []
    for document in train:
        if rng.random() < mix.fim_share:
            result.extend(
                (fim(chunk, rng, spm=rng.random() < mix.spm_share),)
                for chunk in line_chunks(document.text, rng)
            )
        elif rng.random() < mix.cut_share:
            result.append((*prompt_cuts(document.text, rng), END))
        else:
            result.append((document.text + END,))
    wanted = mix.pairs_per_document * len(train)
    result.extend((pair,) for pair in rng.sample(pairs, min(wanted, len(pairs))))
    rng.shuffle(result)
    return result
