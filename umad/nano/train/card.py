"""Render the model card from the run's own figures, so that no number is typed by hand.

`python -m umad.nano.train.card --out RUN --gguf FILE --card FILE`. RUN holds report.json,
evaluation.json and, where somebody compared with llama.cpp, llama_cpp.json and samples.json.
Owner: nobody's state.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from umad.nano.train.evaluate import load_gguf

TEMPLATE = """\
# nano

The model that ships with umad: {parameters} parameters, Llama architecture, Q8_0,
{file_bytes} bytes. It is there so that umad runs, tests and demonstrates itself without a
download. It continues Python code, fills in the middle and answers in ChatML form; it is far too
small to be relied on for anything it says.

    file     nano.gguf
    sha256   {file_sha256}
    licence  PSF-2.0 (the weights derive from the CPython standard library alone)
{status}
## Shape
{n_layers} layers, {width} wide, {n_heads} heads of {head_width} over {n_kv_heads} key/value \
heads, feed-forward {hidden}, tied
embedding, rotary base {rope_base:g}, context {n_context_tokens} tokens. Byte-level BPE of \
{n_vocab_tokens} tokens with GPT-2's
pre-tokenizer.
Special tokens: `<|endoftext|>` (end of sequence), `<|im_start|>` and `<|im_end|>` (ChatML),
`<|fim_prefix|>`, `<|fim_suffix|>` and `<|fim_middle|>` (fill in the middle: prefix-suffix-middle,
and suffix-prefix-middle for a part of the samples).

## Corpus
The standard library of CPython {python}, test folders included: {corpus_files} files,
{corpus_bytes} bytes, each text once, without the code page tables of `encodings` and without
files that do not parse. sha256 over names and texts:
`{corpus_sha256}`.
About 35 % of the files of an epoch are cut into pieces in fill-in-the-middle order; the others
are whole, half of them tokenised in pieces so that prompts may end between tokens. Besides them
{pairs} questions and answers in ChatML form, made from docstrings, and a handful of lines that
say what the model is; an epoch draws six for each file.
Held out, by a hash of the name: {held_out_documents} files, {held_out_bytes} bytes.

## Training
Seed {seed}, torch {torch}, {wall_minutes:.0f} minutes of wall time on two shared CPU cores
({cpu_minutes:.0f} minutes of CPU time), {steps} steps, {tokens} tokens seen
({epochs:.1f} epochs). Muon for matrices, AdamW for embedding and norms, constant rate and a
linear decay over the last 45 % of the wall time.{note} To repeat it:

    pip install 'umad[train]'
    python -m umad.nano.train --out run --minutes {minutes_flag:.0f} --seed {seed}
    python -m umad.nano.train.export --out run --gguf nano.gguf{weights_flag}
    python -m umad.nano.train.evaluate --out run --gguf nano.gguf

The schedule follows the clock, so another machine sees other numbers of steps and does not
arrive at the same bytes.

## Held-out loss
**{bits_per_byte:.3f} bits per byte** ({nats_per_token:.3f} nats per token, {n_tokens} tokens of
{n_files} held-out files) of the Q8_0 weights as shipped, with up to 1,024 tokens of context. The
aim was 1.25: {verdict}{outside_tests}
{llama_cpp}
By length of context, on {n_long} long files among those (bits per byte):

{by_window}

## What it is not
Not an assistant, not a source of facts, not evaluated on any benchmark, not filtered for
anything. It has seen one library by one community: what it writes looks like CPython's own tests
and modules, with names that exist and logic that mostly does not hold. It repeats itself, it
recites the standard library where a prompt leads there, and it knows English only from docstrings
and comments. Its answers to questions have the form of an answer and seldom the substance. Do not
measure a scheduler's *quality* with it, only its speed and correctness.
{samples}"""


def render(
    run: Path, gguf_path: Path, *, weights: str, status: str, note: str, minutes: float
) -> str:
    def read(name: str) -> dict[str, Any] | None:
        path = run / name
        return json.loads(path.read_text()) if path.exists() else None

    report, evaluation = read("report.json"), read("evaluation.json")
    if report is None or evaluation is None:
        raise FileNotFoundError(f"{run}: report.json and evaluation.json are needed")
    raw = gguf_path.read_bytes()
    shape = load_gguf(gguf_path).shape
    held_out = evaluation["held_out"]
    windows = evaluation["by_window_tokens"]
    reached = held_out["bits_per_byte"] <= 1.25
    return TEMPLATE.format(
        **report,
        **asdict(shape),
        head_width=shape.head_width,
        corpus_files=report["documents"] + report["held_out_documents"],
        file_bytes=len(raw),
        file_sha256=hashlib.sha256(raw).hexdigest(),
        status=f"\n{status}\n" if status else "",
        note=f" {note}" if note else "",
        minutes_flag=minutes,
        weights_flag="" if weights == "model" else f" --weights {weights}",
        bits_per_byte=held_out["bits_per_byte"],
        nats_per_token=held_out["nats_per_token"],
        n_tokens=held_out["n_tokens"],
        n_files=held_out["n_files"],
        verdict="reached." if reached else "not reached.",
        outside_tests=_outside_tests(evaluation["outside_tests"]),
        llama_cpp=_llama_cpp(read("llama_cpp.json")),
        n_long=evaluation["n_long_files"],
        by_window="\n".join(f"    {size:>5} tokens  {bits:.3f}" for size, bits in windows.items()),
        samples=_samples(read("samples.json")),
    )


def _outside_tests(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    return (
        " Most of those bytes are test suites, which repeat themselves and resemble\n"
        "their neighbours in the corpus, so this flatters the model: the "
        f"{found['n_files']} files that are not tests\ncost {found['bits_per_byte']:.3f}. "
        "It is a figure for this library, not for Python at large."
    )


def _llama_cpp(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    return (
        f"\nThrough llama.cpp (llama-cpp-python {found['version']}, CPU), on {found['n_tokens']} "
        f"held-out tokens in\nwindows of 512: {found['bits_per_byte']:.4f} bits per byte, against "
        f"{found['torch_bits_per_byte']:.4f} from torch on the same windows;\nthe likeliest "
        f"token is the same at {found['top1_agreement']:.2%} of positions, the correlation of "
        f"logits is\n{found['correlation']:.5f}. Token ids are equal to llama.cpp's on "
        f"{found['equal_texts']} of {found['n_texts']} texts.\n"
    )


def _samples(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    parts = ["\n## Samples\nGreedy, through llama.cpp, first try; prompt and continuation."]
    for title, text in found.items():
        parts.append(f"\n{title}:\n\n" + "\n".join(f"    {line}" for line in text.split("\n")))
    return "\n".join(parts) + "\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m umad.nano.train.card")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--gguf", type=Path, required=True)
    parser.add_argument("--card", type=Path, required=True, help="the file to write")
    parser.add_argument("--weights", default="model", help="what `export` was given")
    parser.add_argument("--minutes", type=float, required=True, help="what the run was given")
    parser.add_argument("--status", default="", help="a line under the licence")
    parser.add_argument("--note", default="", help="what was peculiar about the run")
    options = parser.parse_args(arguments)
    text = render(
        options.out,
        options.gguf,
        weights=options.weights,
        status=options.status,
        note=options.note,
        minutes=options.minutes,
    )
    options.card.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
