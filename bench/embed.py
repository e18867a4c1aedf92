"""Measures how many texts a second become vectors: through umad, and in a bare loop of the library.

Both have the same model and as many threads, and take turns with the same texts, which are new in
every repetition. umad is asked over its socket, in one request, and keeps no vectors. The bare loop
(`bench.bare_embed`) has the library to itself. Before anything is timed, both must make the same
vectors. A row says how long its texts are, and a last one how much a text costs that comes again.
Not: what streams pay for embedding beside them (`tests/scheduler/test_embed_turns.py` simulates
it).
"""

import argparse
import base64
import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from bench import command, machine, models, precedence, real_weights, running
from bench.errors import BenchError
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
# The seconds that texts took, and their vectors.
Timed = tuple[float, Vectors]


class BareLoop:
    """A process with the model and a loop around it."""

    def __init__(self, model: Path, *, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.bare_embed", str(model), str(threads), str(_BARE_ROWS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def embed(self, texts: Sequence[str]) -> Timed:
        """Blocks until they are done."""
        _pipe(self._process.stdin).write(json.dumps(texts) + "\n")
        _pipe(self._process.stdin).flush()
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise BenchError("the bare loop has ended; its words are above")
        answer = json.loads(line)
        raw = base64.b64decode(answer["vectors"])
        return float(answer["seconds"]), np.frombuffer(raw, "<f4").reshape(len(texts), -1)

    def close(self) -> None:
        """End the process."""
        _pipe(self._process.stdin).close()
        running.end(self._process, within_s=_STOP_S)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise BenchError("the bare loop has no pipe")
    return pipe


@contextlib.contextmanager
def daemon(model: Path, *, threads: int, cache: str) -> Iterator[Client]:
    """A client of a daemon that keeps so many bytes of vectors."""
    server = UmadDaemon(
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
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        server.start()
        yield stack.enter_context(Client(server.socket_path))


def through_umad(client: Client, texts: Sequence[str]) -> Timed:
    """From the request to all of its vectors."""
    began_ns = time.perf_counter_ns()
    vectors = client.embed(list(texts), lane="background").vectors
    return (time.perf_counter_ns() - began_ns) / 1e9, vectors


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
    contenders: dict[str, Callable[[Sequence[str]], Timed]],
    *,
    n_texts: int,
    words: Sequence[int],
    repetitions: int,
    progress: Callable[[str], None],
) -> dict[str, dict[str, list[float]]]:
    """Texts a second by length and contender, one sample a repetition; the first round warms both
    up, and is where their vectors are compared.
    """
    drawn = random.Random(0)
    samples: dict[str, dict[str, list[float]]] = {}
    for n_words in words:
        row = samples.setdefault(f"{n_words} words", {name: [] for name in contenders})
        for repetition in range(-1, repetitions):
            progress(f"{n_words} words  {max(0, repetition + 1)}/{repetitions}")
            texts = drawn_texts(n_texts, n_words, drawn)
            order = [*contenders] if repetition % 2 else [*reversed(contenders)]
            found = {name: contenders[name](texts) for name in order}
            if repetition < 0:
                check(*(vectors for _, vectors in found.values()))
                continue
            for name, (took_s, _) in found.items():
                row[name].append(n_texts / took_s)
    return samples


def again(client: Client, *, n_texts: int, n_words: int, repetitions: int) -> list[float]:
    """Texts a second where all of them come again."""
    texts = drawn_texts(n_texts, n_words, random.Random(1))
    through_umad(client, texts)
    return [n_texts / through_umad(client, texts)[0] for _ in range(repetitions)]


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the table."""
    path = real_weights.minilm() if options.model == "minilm" else models.path(options.model)
    bare = BareLoop(path, threads=options.threads)
    with contextlib.ExitStack() as stack, console.status("") as status:
        stack.callback(bare.close)
        client = stack.enter_context(daemon(path, threads=options.threads, cache="0"))
        precedence.include_children()
        samples = measure(
            {UMAD: lambda texts: through_umad(client, texts), BARE: bare.embed},
            n_texts=options.texts,
            words=options.words,
            repetitions=options.repetitions,
            progress=status.update,
        )
    with daemon(path, threads=options.threads, cache="32MiB") as client:
        kept = again(
            client,
            n_texts=options.texts,
            n_words=options.words[-1],
            repetitions=options.repetitions,
        )
    notes = (
        (
            f"{options.texts} texts a request, new ones in each of {options.repetitions} "
            f"repetitions; {options.threads} threads"
        ),
        f"texts of {options.words[-1]} words that come again: {np.median(kept):,.0f} texts/s",
        "median (range) over repetitions; ratios are taken within each repetition",
    )
    comparison = Comparison(
        kind="embed",
        title=f"{path.stem}: texts embedded",
        unit="texts/s",
        condition="length",
        baseline=BARE,
        samples=samples,
    )
    command.publish(
        options,
        console,
        benchmark="embed",
        facts=machine.facts(None),
        comparisons=[comparison],
        notes=notes,
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
