"""llama.cpp by itself: what it decodes of a model, and what its contexts allocate.

A program, run in a process of its own since some models end it: `python -m tests.zoo.bare` with a
model and what is asked as JSON; the answer is one line of JSON. Nothing of umad's scheduling is in
it, only the binding (`umad.engine.llamacpp.llama`). Not a test.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umad.engine.llamacpp import llama
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.llama import Batch, Context, Model

N_TOKENS = 16
_PROMPT_TOKENS = 40
_MIB = 2**20
_ONE_S = 120.0
_F16 = 1
# The lines of the allocations themselves; the engine reads others, which tell of what is planned.
_BUFFER = re.compile(r"(KV|RS|DSV4 \w+ state) buffer size = +([\d.]+) MiB")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Prompts of several turns. long: the first one, and how many tokens may follow it. question:
    of the second turn. edited: the whole second prompt, after an answer that the model did not
    give."""

    long: tuple[int, ...]
    n_long: int
    question: tuple[int, ...]
    edited: tuple[int, ...]

    def turn(self, answer: tuple[int, ...]) -> tuple[int, ...]:
        """The second prompt, after this answer to the first."""
        return (*self.long, *answer, *self.question)


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Greedy tokens of a conversation. after_long: of its first prompt. turn, edited: of its second
    with the model's own answer and with the other one. The rest: llama.cpp decodes the same where
    the prompt is cut as a server may cut it, or is an answer's first half, read anew."""

    after_long: tuple[int, ...] = ()
    turn: tuple[int, ...] = ()
    edited: tuple[int, ...] = ()
    agrees_turn: bool = False
    agrees_edited: bool = False
    agrees_read_anew: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """tokens: greedy, of two prompts. sliced: the first one's when its prompt is computed in two
    parts; together: both, decoded in one batch. later: of a conversation. kv_bytes, state_bytes:
    allocated for a context of the size that was asked for. reason: why there are none of these."""

    tokens: tuple[tuple[int, ...], ...] = ()
    sliced: tuple[int, ...] = ()
    together: tuple[tuple[int, ...], ...] = ()
    later: Later = field(default_factory=Later)
    kv_bytes: int = 0
    state_bytes: int = 0
    reason: str = ""

    @property
    def agrees_sliced(self) -> bool:
        """It decodes the same, however its prompt is cut."""
        return self.sliced == self.tokens[0]

    @property
    def agrees_together(self) -> bool:
        """Two sequences in one batch decode what each decodes alone."""
        return self.together == self.tokens


def prompts(n_vocab: int) -> tuple[tuple[int, ...], ...]:
    """Two, of different tokens and lengths."""
    drawn = np.random.default_rng(7)
    return tuple(
        tuple(int(one) for one in drawn.integers(3, min(n_vocab, 128), size))
        for size in (_PROMPT_TOKENS, _PROMPT_TOKENS - 9)
    )


def bare(
    path: Path,
    *,
    n_cells: int,
    n_seqs: int,
    ctx_size: int | None = None,
    asked: Conversation | None = None,
    swa_full: bool = True,
) -> Bare:
    """What llama.cpp makes of `path`. ctx_size: of the context that decodes, None for none of it;
    asked: a conversation that it decodes there, too; n_cells, n_seqs, swa_full: of the context
    that is measured."""
    words = json.dumps(
        {
            "ctx_size": ctx_size,
            "asked": None if asked is None else asdict(asked),
            "n_cells": n_cells,
            "n_seqs": n_seqs,
            "swa_full": swa_full,
        }
    )
    try:
        run = _run(path, words)
    except subprocess.TimeoutExpired:
        return Bare(reason=f"no answer within {_ONE_S:.0f} s")
    if run.returncode:
        return Bare(reason=_last_words(run))
    found = json.loads(run.stdout)
    return Bare(
        tokens=tuple(tuple(one) for one in found["tokens"]),
        sliced=tuple(found["sliced"]),
        together=tuple(tuple(one) for one in found["together"]),
        later=_later_in(found["later"]),
        kv_bytes=found["kv_bytes"],
        state_bytes=found["state_bytes"],
        reason=found["reason"],
    )


def ends_without_output(path: Path) -> str:
    """The words with which llama.cpp ends the process at a batch of which no row is an output, such
    as all but the last of a long prompt; none where it computes it."""
    run = _run(path, "null")
    return _last_words(run) if run.returncode else ""


def _run(path: Path, words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.zoo.bare", str(path), words],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_ONE_S,
        check=False,
        env={**os.environ, "GGML_NO_BACKTRACE": "1"},
    )


def _last_words(run: subprocess.CompletedProcess[str]) -> str:
    said = [line for line in run.stderr.splitlines() if line.strip()] or ["no words"]
    # Not where the library was built.
    last = said[-1].rsplit("/", 1)[-1] if "GGML_ASSERT" in said[-1] else said[-1]
    return f"status {run.returncode}: {last[:160]}"


def _later_in(found: dict[str, Any]) -> Later:
    lists = {name: tuple(found[name]) for name in ("after_long", "turn", "edited")}
    return Later(**{**found, **lists})


def _conversation_in(found: dict[str, Any]) -> Conversation:
    lists = {name: tuple(found[name]) for name in ("long", "question", "edited")}
    return Conversation(**{**found, **lists})


def context(model: Model, *, n_cells: int, n_seqs: int, swa_full: bool = True) -> Context:
    """As the engine makes them."""
    options = ContextOptions(
        n_cells=n_cells,
        max_seqs=n_seqs,
        batch=512,
        ubatch=512,
        threads=1,
        type_k=_F16,
        type_v=_F16,
        flash_attention=True,
        swa_full=swa_full,
    )
    return Context(model, options)


def _allocated(model: Model, *, n_cells: int, n_seqs: int, swa_full: bool) -> tuple[int, int]:
    with llama.listening() as lines:
        context(model, n_cells=n_cells, n_seqs=n_seqs, swa_full=swa_full).close()
    kv = state = 0.0
    for line in lines:
        if found := _BUFFER.search(line):
            if found[1] == "KV":
                kv += float(found[2])
            else:
                state += float(found[2])
    return round(kv * _MIB), round(state * _MIB)


def _decoded(
    within: Context,
    eog: list[int],
    asked: tuple[tuple[int, ...], ...],
    *,
    cuts: tuple[int, ...] = (),
    n_tokens: int = N_TOKENS,
) -> tuple[tuple[int, ...], ...]:
    """Greedy tokens of `asked`, sequence 0 and on, together in every batch; never one of `eog`.
    cuts: where a single prompt is cut."""
    within.clear()
    pending: list[NDArray[np.int32]] = [np.array(one, np.int32) for one in asked]
    at = [0] * len(asked)
    tokens: list[list[int]] = [[] for _ in asked]
    for cut in cuts:
        (rest,) = pending
        n = cut - at[0]
        _step(within, [rest[:n]], at)
        pending, at = [rest[n:]], [cut]
    for _ in range(n_tokens):
        rows = _step(within, pending, at)
        for seq, part in enumerate(pending):
            at[seq] += part.size
            row = rows[seq].copy()
            row[eog] = -np.inf
            chosen = int(row.argmax())
            tokens[seq].append(chosen)
            pending[seq] = np.array([chosen], np.int32)
    return tuple(tuple(one) for one in tokens)


def _later(within: Context, eog: list[int], asked: Conversation) -> Later:
    def after(
        prompt: tuple[int, ...], cuts: tuple[int, ...] = (), n_tokens: int = N_TOKENS
    ) -> tuple[int, ...]:
        return _decoded(within, eog, (prompt,), cuts=cuts, n_tokens=n_tokens)[0]

    n, half = len(asked.long), asked.n_long // 2
    after_long = after(asked.long, n_tokens=asked.n_long)
    turn, edited = asked.turn(after_long[:N_TOKENS]), asked.edited
    read_anew = after((*asked.long, *after_long[:half]), (n,), asked.n_long - half)
    answers = after(turn), after(edited)
    return Later(
        after_long=after_long,
        turn=answers[0],
        edited=answers[1],
        agrees_turn=after(turn, (n // 2, n - 1, n + N_TOKENS - 1)) == answers[0],
        agrees_edited=after(edited, (n // 2, n - 1)) == answers[1],
        agrees_read_anew=read_anew == after_long[half:],
    )


def _step(within: Context, parts: list[NDArray[np.int32]], at: list[int]) -> NDArray[np.float32]:
    batch = Batch(512)
    n = 0
    for seq, part in enumerate(parts):
        end = n + part.size
        batch.token[n:end] = part
        batch.pos[n:end] = np.arange(at[seq], at[seq] + part.size)
        batch.seq[n:end] = seq
        batch.wants_logits[n:end] = 0
        batch.wants_logits[end - 1] = 1
        n = end
    batch.set_rows(n)
    code = within.decode(batch)
    if code:
        raise RuntimeError(f"llama_decode returned {code}: {within.last_words()}")
    return within.logits(len(parts))


def _answer(
    path: str,
    *,
    ctx_size: int | None,
    asked: dict[str, Any] | None,
    n_cells: int,
    n_seqs: int,
    swa_full: bool,
) -> Bare:
    try:
        model = Model(path, gpu_layers=0)
        if model.has_encoder or not model.has_decoder:
            return Bare(reason="llama.cpp wants its prompt encoded first")
        kv_bytes, state_bytes = _allocated(model, n_cells=n_cells, n_seqs=n_seqs, swa_full=swa_full)
        if ctx_size is None:
            return Bare(kv_bytes=kv_bytes, state_bytes=state_bytes)
        alone = context(model, n_cells=ctx_size, n_seqs=1)
        if not alone.has_memory:
            return Bare(reason="it keeps nothing between decodes: it only embeds")
        two = prompts(model.n_vocab)
        eog = sorted(model.eog_tokens())
        both = context(model, n_cells=ctx_size, n_seqs=2)
        return Bare(
            tokens=tuple(_decoded(alone, eog, (one,))[0] for one in two),
            sliced=_decoded(alone, eog, two[:1], cuts=(len(two[0]) // 2,))[0],
            together=_decoded(both, eog, two),
            later=Later() if asked is None else _later(alone, eog, _conversation_in(asked)),
            kv_bytes=kv_bytes,
            state_bytes=state_bytes,
        )
    except (llama.LlamaError, RuntimeError) as error:
        return Bare(reason=str(error))


def _compute_without_output(path: str) -> None:
    model = Model(path, gpu_layers=0)
    within = context(model, n_cells=512, n_seqs=1)
    batch = Batch(8)
    batch.token[:] = prompts(model.n_vocab)[0][:8]
    batch.pos[:] = np.arange(8)
    batch.set_rows(8)
    if within.decode(batch):
        raise RuntimeError(within.last_words())


def main(arguments: list[str]) -> int:
    """Print what is asked of `arguments[0]`."""
    llama.start()
    asked = json.loads(arguments[1])
    if asked is None:
        _compute_without_output(arguments[0])
        os._exit(0)
    answer = _answer(arguments[0], **asked)
    print(json.dumps(asdict(answer)), flush=True)
    # Not its destructors: some of these models end the process in theirs.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
