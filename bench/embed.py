"""Measures how many texts a second become vectors: through umad, and in a bare loop of the library.

Both have the same model and as many threads, and take turns with the same texts, which are new in
every repetition. umad is asked over its socket, in one request, and keeps no vectors. The bare loop
(`bench.bare_embed`) has the library to itself. Before anything is timed, both must make the same
vectors. A row says how long its texts are, and a note how fast texts are that come again. A second
table has the CPU time of the processes, which other work on the machine changes less.
Not: what streams pay for embedding beside them (`tests/scheduler/test_embed_turns.py` simulates
it).
"""

import argparse
import base64
import contextlib
import dataclasses
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from bench import command, machine, models, precedence, real_weights, running
from bench.errors import BenchError
from bench.overhead import tree_cpu_s
from bench.table import Comparison
from bench.umad_daemon import DaemonSettings, UmadDaemon
from umad.client import Client

UMAD, BARE = "umad", "bare loop"
# Of a whole batch, as a program would choose it that has the library to itself.
_BARE_ROWS = 512
_ALIKE = 0.9999
_STOP_S = 20.0
_WORDS = """
the a of in light house river small green old new every never word names reads writes keeps moves
opens value stone north early quiet answer window system paper garden number letter
""".split()  # noqa: SIM905  (a list of so many short words is no easier to read)

Vectors = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What texts took, and their vectors."""

    wall_s: float
    # Of the processes that computed.
    cpu_s: float
    vectors: Vectors


class BareLoop:
    """A process with the model and a loop around it."""

    def __init__(self, model: Path, *, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.bare_embed", str(model), str(threads), str(_BARE_ROWS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parent.parent,
        )

    def embed(self, texts: Sequence[str]) -> Timed:
        """Blocks until they are done."""
        before_s = tree_cpu_s(self._process.pid)
        _pipe(self._process.stdin).write(json.dumps(texts).encode() + b"\n")
        _pipe(self._process.stdin).flush()
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise BenchError("the bare loop has ended; its words are above")
        answer = json.loads(line)
        raw = base64.b64decode(answer["vectors"])
        return Timed(
            wall_s=float(answer["seconds"]),
            cpu_s=tree_cpu_s(self._process.pid) - before_s,
            vectors=np.frombuffer(raw, "<f4").reshape(len(texts), -1),
        )

    def close(self) -> None:
        """End the process."""
        _pipe(self._process.stdin).close()
        running.end(self._process, within_s=_STOP_S)
        _pipe(self._process.stdout).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise BenchError("the bare loop has no pipe")
    return pipe


class ThroughUmad:
    """A daemon and its client. cache: how many bytes of vectors it keeps."""

    def __init__(self, model: Path, *, threads: int, cache: str) -> None:
        self._daemon = UmadDaemon(
            DaemonSettings(
                model=model,
                streams=1,
                stream_context_tokens=4096,
                threads=threads,
                log_name=f"embed-{cache}",
                extra=("--embed-cache-bytes", cache),
                embeds=True,
            )
        )
        self._daemon.start()
        self._client = Client(self._daemon.socket_path)

    def embed(self, texts: Sequence[str]) -> Timed:
        """From the request to all of its vectors."""
        before_s, began_ns = tree_cpu_s(self._daemon.pid), time.perf_counter_ns()
        vectors = self._client.embed(list(texts), lane="background").vectors
        took_s = (time.perf_counter_ns() - began_ns) / 1e9
        return Timed(wall_s=took_s, cpu_s=tree_cpu_s(self._daemon.pid) - before_s, vectors=vectors)

    def close(self) -> None:
        """End client and daemon."""
        self._client.close()
        self._daemon.stop()


def drawn_texts(n_texts: int, n_words: int, drawn: random.Random) -> list[str]:
    """Texts of so many words each, all different."""
    return [
        f"{drawn.getrandbits(32)} {' '.join(drawn.choices(_WORDS, k=n_words - 1))}"
        for _ in range(n_texts)
    ]


def check(ours: Vectors, theirs: Vectors) -> None:
    """Raises `BenchError` unless both made the same vectors."""
    likeness = float((ours * theirs).sum(axis=1).min())
    if likeness < _ALIKE:
        raise BenchError(f"the vectors differ: the least cosine is {likeness:.5f}")


def measure(
    contenders: Mapping[str, Callable[[Sequence[str]], Timed]],
    *,
    n_texts: int,
    words: Sequence[int],
    repetitions: int,
    progress: Callable[[str], None],
) -> Mapping[str, Mapping[str, Sequence[Timed]]]:
    """What requests took, by length of texts and contender, one a repetition. A first round warms
    both up, and is where their vectors are compared.
    """
    drawn = random.Random(0)
    found: dict[str, dict[str, list[Timed]]] = {}
    for n_words in words:
        row = found.setdefault(f"{n_words} words", {name: [] for name in contenders})
        for repetition in range(-1, repetitions):
            progress(f"{n_words} words  {max(0, repetition + 1)}/{repetitions}")
            texts = drawn_texts(n_texts, n_words, drawn)
            order = [*contenders][:: 1 if repetition % 2 else -1]
            timed = {name: contenders[name](texts) for name in order}
            if repetition < 0:
                check(*(one.vectors for one in timed.values()))
                continue
            for name, one in timed.items():
                row[name].append(one)
    return found


def again(umad: ThroughUmad, *, n_texts: int, n_words: int, repetitions: int) -> float:
    """Texts a second where all of them come again; the median."""
    texts = drawn_texts(n_texts, n_words, random.Random(1))
    umad.embed(texts)
    return statistics.median([n_texts / umad.embed(texts).wall_s for _ in range(repetitions)])


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the tables."""
    path = real_weights.minilm() if options.model == "minilm" else models.path(options.model)
    n_texts, repetitions = options.texts, options.repetitions
    with contextlib.ExitStack() as stack, console.status("") as status:
        bare = BareLoop(path, threads=options.threads)
        stack.callback(bare.close)
        umad = ThroughUmad(path, threads=options.threads, cache="0")
        stack.callback(umad.close)
        precedence.include_children()
        found = measure(
            {UMAD: umad.embed, BARE: bare.embed},
            n_texts=n_texts,
            words=options.words,
            repetitions=repetitions,
            progress=status.update,
        )
    with contextlib.ExitStack() as stack:
        umad = ThroughUmad(path, threads=options.threads, cache="32MiB")
        stack.callback(umad.close)
        n_words = options.words[-1]
        kept = again(umad, n_texts=n_texts, n_words=n_words, repetitions=repetitions)
    notes = (
        (
            f"{n_texts} texts a request, new ones in each of {repetitions} repetitions;"
            f" {options.threads} threads"
        ),
        f"texts of {n_words} words that come again: {kept:,.0f} texts/s",
        "median (range) over repetitions; ratios are taken within each repetition",
    )
    facts = machine.facts(None)
    command.publish(
        options,
        console,
        benchmark="embed",
        facts=facts,
        comparisons=[
            _comparison(
                "speed",
                f"{path.stem}: texts embedded",
                found,
                lambda one: n_texts / one.wall_s,
            ),
            _comparison(
                "cpu",
                f"{path.stem}: CPU time of a text",
                found,
                lambda one: 1e3 * one.cpu_s / n_texts,
            ),
        ],
        notes=notes,
    )


def _comparison(
    kind: str,
    title: str,
    found: Mapping[str, Mapping[str, Sequence[Timed]]],
    figure: Callable[[Timed], float],
) -> Comparison:
    return Comparison(
        kind=f"embed-{kind}",
        title=title,
        unit="texts/s" if kind == "speed" else "ms",
        condition="length",
        baseline=BARE,
        samples={
            row: {name: [figure(one) for one in each] for name, each in by_name.items()}
            for row, by_name in found.items()
        },
    )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("embed", __doc__, model="minilm")
    add, count = parser.add_argument, command.positive
    add("--texts", type=count, default=256, help="of one request")
    add("--words", nargs="+", type=count, default=[12, 120], help="of one text")
    add("--repetitions", type=count, default=7)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
