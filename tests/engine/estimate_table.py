"""Prints what is estimated for every test model of llama.cpp beside what a load then holds.

`make estimate-table` runs it. Nothing is downloaded: the shapes are those of `zoo_memory.json`, and
the oracle is llama.cpp's own account. Not a test; `test_estimate_shapes` holds a kind of each.
"""

import tempfile
from pathlib import Path

from tests.engine.held import held_bytes, options_of, told_bytes
from tests.engine.shape_files import names, write_shape
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.estimating import estimate
from umad.errors import ModelLoadFailed


def main() -> None:
    """Print a table in Markdown, the largest error first."""
    llama.start()
    rows, refused = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in names():
            path = write_shape(Path(folder) / "model.gguf", name)
            options = options_of(path)
            try:
                told = told_bytes(estimate(options, ()))
                held = held_bytes(options)
            except ModelLoadFailed as error:
                refused.append(f"{name}: {error.message.partition(':')[2].strip()}")
                continue
            rows.append((abs(sum(told) / sum(held) - 1), name, told, held))
    rows.sort(reverse=True)
    print("| | weights | kept of texts | to work in | estimated | held | error |")
    print("|---|---|---|---|---|---|---|")
    for off, name, told, held in rows:
        parts = " | ".join(f"{one / 1e6:.2f}" for one in told)
        print(f"| {name} | {parts} | {sum(told) / 1e6:.2f} | {sum(held) / 1e6:.2f} | {off:.2%} |")
    print(f"\n{len(rows)} shapes in MB, worst error {rows[0][0]:.2%}; refused: {refused or 'none'}")


if __name__ == "__main__":
    main()
