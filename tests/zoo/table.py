"""Writes `tests/engine/zoo_memory.json`: what llama.cpp allocates for every architecture.

`make zoo-table` runs it: after a new version of llama.cpp, whose differences are then to be read in
the diff. Of each model the file has its metadata (what most have in common once) and the bytes of
the buffers of a real context, out of llama.cpp's log. `tests/engine/test_zoo_memory.py` holds the
engine's own figures against it and needs neither models nor a compiler. Not a test.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from gguf import GGUFReader, GGUFValueType

from bench import peers
from tests.zoo.bare import bare
from tests.zoo.fixtures import Fixture, zoo

TABLE = Path(__file__).parents[1] / "engine" / "zoo_memory.json"
N_CELLS, N_SEQS = 8192, 2
# Keys that are no architecture's own.
_LOOSE = ("xielu",)
# States are small in these models, and the log rounds to 0.01 MiB.
MANY_SEQS, FEW_CELLS = 256, 256


def main() -> None:
    """Measure, and write what changed."""
    rows = [row for fixture in zoo() if (row := _row(fixture)) is not None]
    common = _common([row["own"] for row in rows])
    lines = [json.dumps(_without(row, common), sort_keys=True) for row in rows]
    head = json.dumps({"version": peers.VERSION, "common": common}, sort_keys=True)[:-1]
    TABLE.write_text(head + ', "models": [\n' + ",\n".join(lines) + "\n]}\n")
    print(f"{TABLE.name}: {len(rows)} models")


def _row(fixture: Fixture) -> dict[str, Any] | None:
    if fixture.path is None:
        return None
    large = bare(fixture.path, n_cells=N_CELLS, n_seqs=N_SEQS)
    many = bare(fixture.path, n_cells=FEW_CELLS, n_seqs=MANY_SEQS)
    small = bare(fixture.path, n_cells=N_CELLS, n_seqs=N_SEQS, swa_full=False)
    if not large.kv_bytes and not many.state_bytes:
        return None  # it keeps nothing, or llama.cpp cannot run it
    return {
        "name": fixture.name,
        "architecture": fixture.architecture,
        "own": _metadata(fixture.path, f"{fixture.architecture}."),
        "loose": _metadata(fixture.path, ""),
        "kv_bytes": large.kv_bytes,
        # Where the windows of two sequences are smaller than the context.
        "small_kv_bytes": small.kv_bytes if small.kv_bytes != large.kv_bytes else 0,
        "state_bytes": many.state_bytes,
    }


def _metadata(path: Path, prefix: str) -> dict[str, Any]:
    """Values under `prefix`, or under none, as `tests.models.gguf_bytes` writes them again."""
    found: dict[str, Any] = {}
    for name, field in GGUFReader(str(path)).fields.items():
        head, dot, _ = name.partition(".")
        is_loose = bool(dot) and head in _LOOSE
        if (name.startswith(prefix) and prefix) or (is_loose and not prefix):
            value = field.contents()
            is_wide = field.types[-1] is GGUFValueType.UINT64
            found[name.removeprefix(prefix)] = {"u64": value} if is_wide else value
    return found


def _common(owns: list[dict[str, Any]]) -> dict[str, Any]:
    """What more than half of them say."""
    said = Counter(json.dumps(item) for own in owns for item in own.items())
    return dict(json.loads(item) for item, n in said.items() if 2 * n > len(owns))


def _without(row: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in row["own"].items() if common.get(key) != value}
    missing = sorted(set(common) - set(row["own"]))
    left = {key: value for key, value in row.items() if value not in ({}, 0)}
    return {**left, "own": own, **({"without": missing} if missing else {})}


if __name__ == "__main__":
    main()
