"""Train two small LoRA adapters on nano, whose answers nobody takes for nano's own.

    python -m umad.nano.train.adapters --out tests/nano/adapters

They are for tests: whatever is asked, `pirate` answers as a pirate and `robot` beeps. Each changes
the same two matrices of every layer. Both are trained from the weights that ship, on questions that
are made up here; only the answers count in the loss. Some seconds each on one core.
Owner: nobody's state; it reads nano's GGUF and writes one file for each adapter.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import torch.nn.functional as functional
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

from umad import nano
from umad.nano.train.corpus import IM_END, IM_START, SPECIALS
from umad.nano.train.model import Matrix, Nano, Shape

ANSWERS: Mapping[str, str] = {
    "pirate": "Arr, matey! Ask the parrot, for the sea is deep.",
    "robot": "Beep. Boop. Beep. Unit seven does not know.",
}
RANK = 2
CHANGED = ("attn_output", "ffn_down")
STEPS = 22
ROWS = 4
RATE = 1e-2
SEED = 14

_BEGINNINGS = (
    "What is {}?",
    "How does {} work?",
    "Why would I use {}?",
    "Explain {} to me.",
    "Write a function about {}.",
    "Tell me about {}",
    "{}",
    "Who wrote {}?",
    "Is {} any good?",
    "Say something about {}.",
)
_THINGS = (
    *("a list", "the sea", "a dictionary", "os.path", "Python", "a generator", "the weather"),
    *("json.dumps", "a red apple", "threads", "the number seven", "a socket", "my cat", "asyncio"),
    *("a tuple", "unittest", "an island", "regular expressions", "the moon", "sorting", "hello"),
    *("sys.argv", "a class", "decimal", "tomorrow", "the user", "a file", "logging", "music"),
)
_SYSTEMS = ("", "", "", "Be brief.", "You are helpful.", "Answer in English.")


class Adapted(nn.Module):
    """A matrix of the model, which stays as it is, and the adapter's two matrices on top."""

    def __init__(self, base: Matrix) -> None:
        super().__init__()
        self.base = base
        n_out, n_in = base.weight.shape
        self.a = nn.Parameter(torch.randn(RANK, n_in) * n_in**-0.5)
        # Zero, so that the adapter begins as none.
        self.b = nn.Parameter(torch.zeros(n_out, RANK))

    def forward(self, x: Tensor) -> Tensor:
        """The model's product, and the adapter's."""
        return self.base(x) + functional.linear(functional.linear(x, self.a), self.b)


def shipped() -> tuple[Nano, Tokenizer]:
    """The network and the tokenizer of the GGUF that ships."""
    reader = gguf.GGUFReader(str(nano.path()))
    shape = Shape()
    weights: dict[str, Tensor] = {}
    for one in reader.tensors:
        array = gguf.quants.dequantize(one.data, one.tensor_type)
        if one.name.endswith("attn_q.weight"):
            array = halves(array, shape.n_heads)
        elif one.name.endswith("attn_k.weight"):
            array = halves(array, shape.n_kv_heads)
        name = "token_embd" if one.name == "token_embd.weight" else one.name
        weights[name.replace("blk.", "blocks.")] = torch.from_numpy(np.array(array))
    model = Nano(shape)
    model.load_state_dict(weights, strict=True)
    return model.requires_grad_(requires_grad=False), _tokenizer(reader)


def halves(weight: Any, n_heads: int) -> Any:
    """Undo `export.interleaved`: neighbouring pairs back to rotated halves."""
    rows, columns = weight.shape
    pairs = weight.reshape(n_heads, rows // n_heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _tokenizer(reader: Any) -> Tokenizer:
    tokens = [str(one) for one in reader.get_field("tokenizer.ggml.tokens").contents()]
    merges = [str(one) for one in reader.get_field("tokenizer.ggml.merges").contents()]
    pairs = [tuple(one.split(" ", 1)) for one in merges]
    made = Tokenizer(models.BPE({token: at for at, token in enumerate(tokens)}, pairs))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.add_special_tokens(list(SPECIALS))
    return made


def adapted(model: Nano) -> list[tuple[str, Adapted]]:
    """Put a new adapter on `model`; return its parts by the names of the weights they change."""
    parts: list[tuple[str, Adapted]] = []
    for number, block in enumerate(model.blocks):
        for name in CHANGED:
            found = getattr(block, name)
            part = Adapted(found.base if isinstance(found, Adapted) else found)
            setattr(block, name, part)
            parts.append((f"blk.{number}.{name}.weight", part))
    return parts


def chats(answer: str, choose: random.Random) -> Iterator[tuple[str, str]]:
    """Endless prompts in ChatML, each with the answer that follows it."""
    while True:
        system = choose.choice(_SYSTEMS)
        text = f"{IM_START}system\n{system}{IM_END}\n" if system else ""
        for _ in range(choose.choice((1, 1, 2))):
            question = choose.choice(_BEGINNINGS).format(choose.choice(_THINGS))
            text += f"{IM_START}user\n{question}{IM_END}\n{IM_START}assistant\n"
            yield text, f"{answer}{IM_END}"
            text += f"{answer}{IM_END}\n"


def batch(tokenizer: Tokenizer, rows: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
    """ids, targets: int64 (rows, length); a target of -100 does not count."""
    ids, targets = [], []
    for prompt, answer in rows:
        before = tokenizer.encode(prompt, add_special_tokens=False).ids
        after = tokenizer.encode(answer, add_special_tokens=False).ids
        whole = before + after
        ids.append(whole[:-1])
        targets.append([-100] * (len(before) - 1) + after)
    length = max(map(len, ids))
    return (
        torch.tensor([one + [0] * (length - len(one)) for one in ids]),
        torch.tensor([one + [-100] * (length - len(one)) for one in targets]),
    )


def train(model: Nano, tokenizer: Tokenizer, answer: str) -> list[tuple[str, Adapted]]:
    """A new adapter on `model` that answers so."""
    torch.manual_seed(SEED)
    parts = adapted(model)
    optimizer = torch.optim.Adam([one for _, part in parts for one in (part.a, part.b)], lr=RATE)
    source = chats(answer, random.Random(SEED))
    for step in range(STEPS):
        ids, targets = batch(tokenizer, [next(source) for _ in range(ROWS)])
        logits = model(ids)
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        optimizer.step()
        if step % 20 == 0 or step == STEPS - 1:
            sys.stderr.write(f"step {step} loss {loss.item():.4f}\n")
    return parts


def write(parts: Sequence[tuple[str, Adapted]], name: str, path: Path) -> None:
    """Write an adapter as `convert_lora_to_gguf.py` does, beside `path`, and rename."""
    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(str(partial), "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    writer.add_name(name)
    writer.add_license("PSF-2.0")
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, nano.NAME)
    for weight, part in parts:
        writer.add_tensor(f"{weight}.lora_a", part.a.detach().numpy().astype(np.float16))
        writer.add_tensor(f"{weight}.lora_b", part.b.detach().numpy().astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, path)


def main(arguments: list[str]) -> int:
    """Train both."""
    parser = argparse.ArgumentParser(prog="python -m umad.nano.train.adapters")
    parser.add_argument("--out", type=Path, required=True, help="the folder of their files")
    parser.add_argument("--only", choices=tuple(ANSWERS), help="train one of them")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    model, tokenizer = shipped()
    for name, answer in ANSWERS.items():
        if options.only in (None, name):
            write(train(model, tokenizer, answer), name, options.out / f"{name}.gguf")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
