"""Computes answers by the bare library on an empty context, and judges those of a server by them.

    python -m bench.cold MODEL    questions as JSON on stdin, `Verdict`s on stdout

A program of its own, because llama.cpp is loaded into whoever runs it. The same prompt cut into
other slices has other last bits. So the bound is what the bare library itself shows of this model:
the most that the log-probabilities of one of these prompts' first tokens are apart between
slicings. An answer that was read anew from its middle on is cut there, and not before its first
token. So the library reads it anew there, too. A prompt that is the beginning of another one is not
computed twice. Not a test. Owner: the process.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from umad.config import EngineSettings
from umad.engine.process import memory_bytes
from umad.models.files import whole_headers

Row = NDArray[np.float32]
Rows = dict[int, Row]
_BATCH = 512
# Sizes of slices, beside the largest: what a prompt beside others, and a second turn, is cut into.
SLICINGS = (500, 333, 150, 64, 20)
# Of the longest prompts so many are computed in other slices, too: that is most of the time.
_MOST_SLICED = 2
# So many tokens are looked at behind a place from which an answer was read anew.
_BEHIND = 32
# So many of the likeliest tokens at each place may be drawn.
_LIKELY = 8
_F16 = 1
_TIMEOUT_S = 3600.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An answer to be judged. first: log-probabilities that its first token was drawn from. anew:
    behind so many of its tokens, each, it may have been read anew, as a prompt is."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    first: Mapping[int, float]
    anew: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """In nats. first: how far the first token's log-probabilities are from the cold ones. bound:
    how far those of any question are apart between slicings, and behind places from which its
    answer was read anew. worst: how much less likely any token is than the likeliest one at its
    place. same: tokens that are the likeliest. n: all of them."""

    first: float
    bound: float
    worst: float
    same: int
    n: int

    @property
    def holds(self) -> bool:
        """As good as cold. A token that is not the likeliest one is tied with it: the library may
        think less of one and more of the other by the bound."""
        return self.first <= self.bound and self.worst <= 2 * self.bound


class ColdLibrary:
    """One model on a context of its own, for prompts of up to `n_cells` tokens."""

    def __init__(self, path: Path, *, n_cells: int, threads: int) -> None:
        # Not where this module is imported: whoever measures wants no llama.cpp in its own process.
        from umad.engine.llamacpp import llama  # noqa: PLC0415
        from umad.engine.llamacpp.context_options import ContextOptions  # noqa: PLC0415
        from umad.engine.llamacpp.repack_choice import with_repack  # noqa: PLC0415

        llama.start()
        # The same kernels as an engine that has the machine to itself, so that what differs is not
        # theirs.
        settings = with_repack(
            EngineSettings(gpu_layers=0),
            whole_headers(path),
            llama.devices(),
            left_bytes=memory_bytes(),
            is_beside=False,
        )
        self._model = llama.Model(str(path), gpu_layers=0, repack=bool(settings.repack))
        self._context = llama.Context(
            self._model,
            ContextOptions(
                n_cells=-(-n_cells // 256) * 256,
                max_seqs=1,
                batch=_BATCH,
                ubatch=_BATCH,
                threads=threads,
                type_k=_F16,
                type_v=_F16,
                flash_attention=True,
            ),
        )
        self._batch = llama.Batch(_BATCH)
        self.ends = sorted(self._model.eog_tokens())

    def rows(self, tokens: Sequence[int], wanted: Sequence[int], *, slice_: int = _BATCH) -> Rows:
        """Log-probabilities behind each position of `wanted`, computed from an empty context. Each
        ends a slice, as prompts and sampled tokens do."""
        self._context.clear()
        found: Rows = {}
        starts = {*range(0, len(tokens), slice_), *(at + 1 for at in wanted), len(tokens)}
        for start, end in pairwise(sorted(starts)):
            row = self._decoded(tokens, start, end, wants_row=end - 1 in wanted)
            if row is not None:
                found[end - 1] = row
        return found

    def greedy(self, prompt: Sequence[int], n_tokens: int) -> list[int]:
        """The tokens that follow `prompt`; none that ends an answer."""
        tokens = list(prompt)
        row: Row | None = self.rows(tokens, [len(tokens) - 1])[len(tokens) - 1]
        while row is not None:
            tokens.append(self.likeliest(row))
            n = len(tokens)
            done = n == len(prompt) + n_tokens
            row = None if done else self._decoded(tokens, n - 1, n, wants_row=True)
        return tokens[len(prompt) :]

    def likeliest(self, row: Row) -> int:
        """A token that ends no answer."""
        row = row.copy()
        row[self.ends] = -np.inf
        return int(row.argmax())

    def close(self) -> None:
        """Frees both."""
        self._context.close()
        self._model.close()

    def _decoded(
        self, tokens: Sequence[int], start: int, end: int, *, wants_row: bool
    ) -> Row | None:
        batch = self._batch
        n = end - start
        batch.token[:n] = tokens[start:end]
        batch.pos[:n] = np.arange(start, end)
        batch.seq[:n] = 0
        batch.wants_logits[:n] = 0
        # llama.cpp ends the process at a batch of Chameleon's that has no output.
        batch.wants_logits[n - 1] = 1
        batch.set_rows(n)
        if code := self._context.decode(batch):
            raise BenchError(f"llama_decode returned {code}: {self._context.last_words()}")
        return _log_softmax(self._context.logits(1)[0]) if wants_row else None


def verdicts(library: ColdLibrary, asked: Sequence[Question]) -> list[Verdict]:
    """Of each question, in their order."""
    found: list[Verdict | None] = [None] * len(asked)
    known = [(*one.prompt, *one.answer[:-1]) for one in asked]
    for group, (tokens, members) in enumerate(_together(known)):
        places = sorted(
            {
                place
                for number in members
                for place in range(
                    len(asked[number].prompt) - 1,
                    len(asked[number].prompt) + len(asked[number].answer) - 1,
                )
            }
        )
        firsts = [len(asked[number].prompt) - 1 for number in members]
        cold = library.rows(tokens, places)
        sizes = SLICINGS if group < _MOST_SLICED else ()
        others = [library.rows(tokens, firsts, slice_=size) for size in sizes]
        for number in members:
            verdict = _judged(library, asked[number], cold, others)
            anew = _anew(library, asked[number], cold)
            found[number] = dataclasses.replace(verdict, bound=max(verdict.bound, anew))
    judged = [one for one in found if one is not None]
    bound = max((one.bound for one in judged), default=0.0)
    return [dataclasses.replace(one, bound=bound) for one in judged]


def judge(model: Path, asked: Sequence[Question], *, threads: int) -> list[Verdict]:
    """The same in a process of its own, which ends before this returns."""
    document = {
        "threads": threads,
        "asked": [{**dataclasses.asdict(one), "first": list(one.first.items())} for one in asked],
    }
    run = subprocess.run(
        [sys.executable, "-m", "bench.cold", str(model)],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
        cwd=Path(__file__).resolve().parent.parent,
    )
    if run.returncode:
        words = [line for line in run.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise BenchError(f"the bare library could not be asked: {words[-1]}")
    return [Verdict(**one) for one in json.loads(run.stdout)]


def _judged(library: ColdLibrary, asked: Question, cold: Rows, others: Sequence[Rows]) -> Verdict:
    at = len(asked.prompt) - 1
    rows = [cold[at + number] for number in range(len(asked.answer))]
    best = [library.likeliest(row) for row in rows]
    gaps = [
        float(row[first] - row[token])
        for row, first, token in zip(rows, best, asked.answer, strict=True)
    ]
    ids = list(asked.first)
    values = np.array([asked.first[one] for one in ids])
    spread = np.stack([cold[at][ids], *(one[at][ids] for one in others)])
    return Verdict(
        first=float(np.abs(spread[0] - values).max(initial=0.0)),
        bound=float((spread.max(axis=0) - spread.min(axis=0)).max(initial=0.0)),
        worst=max(gaps, default=0.0),
        same=sum(first == token for first, token in zip(best, asked.answer, strict=True)),
        n=len(asked.answer),
    )


def _anew(library: ColdLibrary, asked: Question, cold: Rows) -> float:
    """How far the log-probabilities of tokens behind those places are from the cold ones where all
    before each place is read as a prompt is. Only likely tokens count: no other can be drawn."""
    known = (*asked.prompt, *asked.answer[:-1])
    furthest = 0.0
    for n_tokens in asked.anew:
        first = len(asked.prompt) + n_tokens - 1
        places = range(first, min(first + _BEHIND, len(known)))
        rows = library.rows(known[: places.stop], places) if places else {}
        for place, row in rows.items():
            likely = np.argsort(cold[place])[-_LIKELY:]
            moved = np.abs(row[likely] - cold[place][likely])
            furthest = max(furthest, float(moved.max()))
    return furthest


def _together(
    sequences: Sequence[tuple[int, ...]],
) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """The longest ones, each with the numbers of those that it begins with, itself included."""
    left = sorted(range(len(sequences)), key=lambda number: -len(sequences[number]))
    while left:
        longest = sequences[left[0]]
        members = [one for one in left if longest[: len(sequences[one])] == sequences[one]]
        left = [one for one in left if one not in members]
        yield longest, members


def _log_softmax(row: Row) -> Row:
    shifted = row - row.max()
    result: Row = shifted - np.log(np.exp(shifted).sum())
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: judge what comes on stdin."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold", description=__doc__)
    parser.add_argument("model", type=Path)
    options = parser.parse_args(arguments)
    document = json.load(sys.stdin)
    asked = [
        Question(
            prompt=tuple(one["prompt"]),
            answer=tuple(one["answer"]),
            first=dict(map(tuple, one["first"])),
            anew=tuple(one["anew"]),
        )
        for one in document["asked"]
    ]
    longest = max((len(one.prompt) + len(one.answer) for one in asked), default=1)
    library = ColdLibrary(options.model, n_cells=longest, threads=document["threads"])
    found = verdicts(library, asked)
    sys.stdout.write(json.dumps([dataclasses.asdict(one) for one in found]) + "\n")
    sys.stdout.flush()
    # Not its destructors: some models end the process in theirs.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
