"""The trainer's arithmetic, where torch is installed: it trains what llama.cpp will compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("tokenizers", reason="needs the train extra")

# After the skips: without torch these modules cannot be imported.
from umad.nano.train import (  # noqa: E402
    adapters,
    corpus,
    evaluate,
    export,
    loop,
    optim,
    tokenizer,
)
from umad.nano.train.model import Nano, Shape, attention, rotate  # noqa: E402

TINY = Shape(
    n_vocab_tokens=320,
    n_context_tokens=64,
    width=64,
    n_layers=2,
    n_heads=2,
    n_kv_heads=1,
    hidden=96,
)


def tiny_model() -> Nano:
    torch.manual_seed(0)
    model = Nano(TINY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.eval()
    return model


@pytest.mark.parametrize("length", [1, 255, 256, 600])
def test_attention_in_blocks_equals_torchs_own(length: int) -> None:
    torch.manual_seed(length)
    q, k, v = torch.randn(3, 2, 2, length, 32).unbind(0)

    whole = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    assert torch.allclose(attention(q, k, v), whole, atol=1e-5)


def test_reordered_rows_rotate_by_neighbouring_pairs_as_llama_cpp_does() -> None:
    torch.manual_seed(0)
    model = tiny_model()
    weight = torch.randn(TINY.head_width, TINY.width)
    x = torch.randn(1, 8, TINY.width)
    cos, sin = model.get_buffer("cos")[:8], model.get_buffer("sin")[:8]

    halves = rotate((x @ weight.T)[:, :, None, :], cos, sin)[0, :, 0].numpy()

    reordered = torch.from_numpy(export.interleaved(weight.numpy(), 1))
    pairs = (x @ reordered.T)[0].view(8, -1, 2)
    even, odd = pairs.unbind(-1)
    c, s = cos[:, 0], sin[:, 0]
    turned = torch.stack((even * c - odd * s, even * s + odd * c), dim=-1).reshape(8, -1).numpy()
    assert np.allclose(turned, np.stack(np.split(halves, 2, axis=1), -1).reshape(8, -1), atol=1e-5)
    assert np.array_equal(evaluate.halves(reordered.numpy(), 1), weight.numpy())


def test_a_file_that_was_written_and_read_back_predicts_the_same(tmp_path: Path) -> None:
    text = "def area(self):\n    return self.width * self.height\n" * 20
    bpe = tokenizer.train([text], n_vocab_tokens=TINY.n_vocab_tokens)
    bpe.save(str(tmp_path / "tokenizer.json"))
    model = tiny_model()

    export.write(model, tmp_path / "tokenizer.json", tmp_path / "tiny.gguf")
    again = evaluate.load_gguf(tmp_path / "tiny.gguf")

    ids = torch.from_numpy(tokenizer.encode(bpe, [(text,)]).astype(np.int64))[None, :48]
    with torch.no_grad():
        before, after = model(ids).numpy(), again(ids).numpy()
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.999


def test_pieces_of_a_sample_are_tokenised_apart_and_lose_nothing() -> None:
    text = "def f(x):\n    return x\n"
    bpe = tokenizer.train([text * 20], n_vocab_tokens=TINY.n_vocab_tokens)

    whole = tokenizer.encode(bpe, [(text,)])
    apart = tokenizer.encode(bpe, [(text[:7], text[7:] + corpus.END)])

    assert bpe.decode(apart.tolist(), skip_special_tokens=False) == text + corpus.END
    assert len(apart) > len(whole)


def test_the_loss_in_windows_counts_every_token_once() -> None:
    text = "x = [1, 2, 3]\ny = sum(x)\n" * 30
    bpe = tokenizer.train([text], n_vocab_tokens=TINY.n_vocab_tokens)
    files = [corpus.Document(name="a.py", text=text)]

    scores = [
        evaluate.score(tiny_model(), bpe, files, window_tokens=window, fresh_tokens=window // 2)
        for window in (16, 64)
    ]

    assert {score.n_tokens for score in scores} == {len(tokenizer.encode(bpe, [(text,)]))}
    assert {score.n_bytes for score in scores} == {len(text)}


def test_orthogonalised_updates_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for rows, columns in ((32, 96), (96, 32)):
        update = optim.orthogonalised(torch.randn(2, rows, columns)).float()
        values = torch.linalg.svdvals(update)
        assert 0.5 < float(values.min()) <= float(values.max()) < 1.4


def test_the_rate_warms_up_stays_and_ends_at_zero_by_the_clock() -> None:
    assert loop.rate(0, 0.0) < 0.05
    assert loop.rate(1000, loop.DECAY_FROM) == 1.0
    assert loop.rate(1000, 1.0) == 0.0
    assert loop.rate(1000, 1.5) == 0.0  # a process that was paused past its deadline


def test_the_trainer_of_adapters_reads_back_what_the_export_has_written() -> None:
    weight = np.arange(16 * 3, dtype=np.float32).reshape(16, 3)
    written = export.interleaved(weight, 2)
    assert not np.array_equal(written, weight)
    assert np.array_equal(adapters.halves(written, 2), weight)
