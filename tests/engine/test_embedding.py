"""Texts to vectors in a real engine process: nano, and small encoders made for the purpose."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import PoolingType
from numpy.typing import NDArray

from tests.encoders import CONTEXT, WIDTH, write_encoder
from tests.engine.harness import ROOT, RunningEngine, engine
from umad.protocol.link import Drop, EngineCall
from umad.request import BACKGROUND, INTERACTIVE

TEXTS = (
    "def mean(values):\n    return sum(values) / len(values)\n",
    "import os\n",
    "class Stack:\n    def __init__(self):\n        self.items = []\n" * 4,
)


# What shares a batch changes how sums round.
ALIKE = 0.9999
# How the engine slices a text depends on what slices have cost, and with q8 it changes no bit of
# keys and values (see bench/determinism.py).
QUANTISED = {"kv_type": "q8"}


# Every text is computed, although other tests have asked for it.
KEEPS_NOTHING = {"embed_cache_bytes": 0}


@pytest.fixture(scope="module")
def nano_engine(nano_path: Path) -> Iterator[RunningEngine]:
    with engine(nano_path, **KEEPS_NOTHING, **QUANTISED) as running:
        running.ready()
        yield running


@pytest.fixture(scope="module")
def encoder_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder") / "encoder.gguf")


@pytest.fixture(scope="module")
def encoder(encoder_path: Path) -> Iterator[RunningEngine]:
    with engine(encoder_path, **KEEPS_NOTHING) as running:
        running.ready()
        yield running


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    folder = tmp_path_factory.mktemp("ranker")
    path = write_encoder(folder / "r.gguf", pooling=PoolingType.RANK)
    with engine(path, **KEEPS_NOTHING) as running:
        running.ready()
        yield running


def embed_args(*inputs: str | tuple[int, ...], **more: Any) -> dict[str, Any]:
    return {
        "inputs": inputs,
        "dimensions": None,
        "normalize": False,
        "truncate": False,
        "lane": INTERACTIVE,
        "app": "test",
        **more,
    }


def vectors(running: RunningEngine, *inputs: Any, **more: Any) -> NDArray[np.float32]:
    """float32 (inputs, dimensions)"""
    reply = running.call("embed", **embed_args(*inputs, **more))
    assert reply.error is None, reply.error
    value = reply.value
    return np.frombuffer(value["vectors"], "<f4").reshape(-1, value["dimensions"])


def refusal(running: RunningEngine, op: str, **args: Any) -> tuple[str, str, str | None]:
    error = running.call(op, **args).error
    assert error is not None
    return error


def library(n_texts: int) -> list[str]:
    """Texts that are all different, so that each is computed."""
    return [f"# {at}\n{TEXTS[2]}" for at in range(n_texts)]


def rank_args(query: str, *documents: str, top_n: int | None = None) -> dict[str, Any]:
    return {
        "query": query,
        "documents": documents,
        "top_n": top_n,
        "truncate": False,
        "lane": INTERACTIVE,
        "app": "test",
    }


def elsewhere(path: Path, pooling: str, *texts: str, cells: str = "F16") -> NDArray[np.float32]:
    """The same texts by llama-cpp-python's high-level interface. cells: ggml's name of their
    type; of an encoder, none are kept."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.high_level", str(path), pooling, cells],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=100,
        check=True,
    )
    return np.array(json.loads(done.stdout), np.float32)


def cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosines: NDArray[np.float32] = (ours * theirs).sum(axis=1) / lengths
    return cosines


def test_a_generative_models_vectors_are_the_means_that_llama_cpp_makes(
    nano_engine: RunningEngine, nano_path: Path
) -> None:
    ours = vectors(nano_engine, *TEXTS)

    theirs = elsewhere(nano_path, "mean", *TEXTS, cells="Q8_0")
    assert ours.shape == theirs.shape
    assert cosines(ours, theirs).min() > ALIKE
    lengths = np.linalg.norm(ours, axis=1), np.linalg.norm(theirs, axis=1)
    assert np.allclose(*lengths, rtol=2e-3)


def test_what_shares_a_batch_changes_no_vector(nano_engine: RunningEngine) -> None:
    alone = np.concatenate([vectors(nano_engine, text) for text in TEXTS])

    together = vectors(nano_engine, *TEXTS, *library(3))

    assert cosines(together[:3], alone).min() > ALIKE


def test_a_text_computed_in_slices_has_the_vector_of_the_whole(
    nano_engine: RunningEngine, nano_path: Path
) -> None:
    text = "\n".join(TEXTS) * 4
    with engine(nano_path, batch=16, ubatch=16, **QUANTISED) as sliced:
        sliced.ready()
        in_slices = vectors(sliced, text)

    at_once = vectors(nano_engine, text)

    assert cosines(in_slices, at_once).min() > ALIKE


def test_token_ids_are_taken_as_they_are(nano_engine: RunningEngine) -> None:
    ids = tuple(nano_engine.call("tokenize", text=TEXTS[0], special=False).value)

    assert np.allclose(vectors(nano_engine, ids), vectors(nano_engine, TEXTS[0]), atol=1e-5)


def test_vectors_are_cut_and_then_scaled_to_length_one(nano_engine: RunningEngine) -> None:
    whole = vectors(nano_engine, TEXTS[0])

    short = vectors(nano_engine, TEXTS[0], dimensions=8, normalize=True)

    assert short.shape == (1, 8)
    assert np.linalg.norm(short) == pytest.approx(1, abs=1e-5)
    assert np.allclose(short, whole[:, :8] / np.linalg.norm(whole[:, :8]), atol=1e-5)


@pytest.mark.parametrize("pooling", [PoolingType.CLS, PoolingType.MEAN])
def test_an_encoders_vectors_are_pooled_as_its_file_says(
    tmp_path: Path, pooling: PoolingType
) -> None:
    path = write_encoder(tmp_path / "encoder.gguf", pooling=pooling)
    texts = ("the sky is blue", "why? because of rayleigh.", "no")
    with engine(path) as running:
        facts = running.ready()
        ours = vectors(running, *texts)

    theirs = elsewhere(path, pooling.name, *texts)
    assert (facts["generates"], facts["pooling"]) == (False, pooling.name.lower())
    assert (facts["embed_tokens"], facts["embed_width"]) == (CONTEXT, WIDTH)
    assert facts["title"] == "random bert"
    assert ours.shape == (3, WIDTH)
    assert cosines(ours, theirs).min() > ALIKE
    assert np.allclose(ours, theirs, atol=5e-3)


def test_an_encoder_that_is_asked_to_write_says_what_it_is(encoder: RunningEngine) -> None:
    refused = encoder.generate(1, prompt="hello").refusal

    assert refused.code == "unsupported"
    assert "encoder" in refused.message
    assert refused.field == "model"


def test_a_text_that_is_too_long_is_named_and_refused_or_cut(encoder: RunningEngine) -> None:
    texts = ("a", "b" * (CONTEXT + 50))

    code, message, field = refusal(encoder, "embed", **embed_args(*texts))
    cut = vectors(encoder, *texts, truncate=True)

    assert (code, field) == ("prompt_too_long", "input")
    assert f"input 1 has {CONTEXT + 52} tokens and at most {CONTEXT}" in message
    assert np.allclose(cut[1], vectors(encoder, "b" * (CONTEXT - 2))[0], atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"inputs": ((5, 10**6),)}, "input 0: token 1000000 is not one of"),
        ({"inputs": ((5, 10**6),), "first": 256, "total": 257}, "input 256: token 1000000 is not"),
        ({"total": 10**6}, f"1000000 vectors of {WIDTH} numbers are"),
        ({"dimensions": WIDTH + 1}, f"this model's vectors have {WIDTH}"),
        ({"lane": "fast"}, "no lane is called 'fast'"),
    ],
)
def test_what_a_model_cannot_do_is_said(
    encoder: RunningEngine, changed: dict[str, Any], words: str
) -> None:
    code, message, _ = refusal(encoder, "embed", **{**embed_args("text"), **changed})

    assert code == "bad_request"
    assert words in message


def test_a_reranker_puts_documents_in_order_and_a_score_depends_on_its_pair_alone(
    ranker: RunningEngine,
) -> None:
    documents = ("a cat sleeps", "blue is a colour", "dogs bark", "42")

    together = ranker.call("rerank", **rank_args("what is blue?", *documents)).value["ranked"]
    alone = [
        ranker.call("rerank", **rank_args("what is blue?", one)).value["ranked"][0][1]
        for one in documents
    ]
    best = ranker.call("rerank", **rank_args("what is blue?", *documents, top_n=2)).value["ranked"]

    assert [score for _, score in together] == pytest.approx(sorted(alone, reverse=True), rel=1e-3)
    assert [alone[index] for index, _ in together] == sorted(alone, reverse=True)
    assert [index for index, _ in best] == [index for index, _ in together[:2]]


def test_a_pair_is_marked_as_its_model_was_trained(ranker: RunningEngine) -> None:
    reply = ranker.call("rerank", **rank_args("ab", "cd"))

    # [CLS] a b [SEP] c d
    assert reply.value["prompt_tokens"] == 6


def test_of_a_pair_that_is_too_long_the_documents_end_is_cut_off(tmp_path: Path) -> None:
    template = "[CLS]{query}[SEP]{document}[SEP][MASK]"
    path = write_encoder(tmp_path / "r.gguf", pooling=PoolingType.RANK, rerank_template=template)
    with engine(path, **KEEPS_NOTHING) as running:
        running.ready()
        long = {**rank_args("ab", "c", "b" * 2 * CONTEXT), "truncate": True}
        # Beside two of the query, and four marks.
        room = CONTEXT - 6

        cut = running.call("rerank", **long).value
        by_hand = running.call("rerank", **rank_args("ab", "c", "b" * room)).value
        refused = refusal(running, "rerank", **{**long, "truncate": False})
        no_room = refusal(running, "rerank", **rank_args("a" * room + "a" * 3, "c"))

    assert cut["prompt_tokens"] == by_hand["prompt_tokens"] == CONTEXT + 7
    assert dict(cut["ranked"]) == pytest.approx(dict(by_hand["ranked"]), rel=1e-3)
    assert refused[:1] == no_room[:1] == ("prompt_too_long",)
    assert f"documents 1 has {2 * CONTEXT + 6} tokens" in refused[1]
    assert "no document has room beside it" in no_room[1]


def test_models_refuse_what_they_were_not_made_for(
    ranker: RunningEngine, encoder: RunningEngine
) -> None:
    no_vectors = refusal(ranker, "embed", **embed_args("text"))
    no_scores = refusal(encoder, "rerank", **rank_args("a", "b"))

    assert (no_vectors[0], no_scores[0]) == ("unsupported", "unsupported")
    assert "rerank" in no_vectors[1]
    assert "no reranker (its pooling is cls, not rank)" in no_scores[1]


def test_a_stream_goes_on_while_a_library_is_embedded(nano_path: Path) -> None:
    with engine(nano_path, threads=2) as running:
        running.ready()
        expected = running.generate(1, prompt="def f(", max_tokens=60, ignore_eos=True).ids
        texts = embed_args(*library(200), lane=BACKGROUND)
        running.send(EngineCall(call=900, op="embed", args=texts))

        beside = running.generate(2, prompt="def f(", max_tokens=60, ignore_eos=True)

        assert len(beside.ids) == len(expected) == 60
        while not running.replies:  # it may have come before the stream's end
            running.hear()
    (reply,) = running.replies
    assert (reply.call, reply.error) == (900, None)


def test_a_dropped_request_is_not_answered_and_the_next_one_is(nano_path: Path) -> None:
    with engine(nano_path) as running:
        running.ready()
        texts = embed_args(*library(500))
        running.send(EngineCall(call=900, op="embed", args=texts), Drop(call=900))

        reply = running.call("embed", **embed_args("text"))

    assert reply.error is None
    assert len(reply.value["vectors"]) == 256 * 4


# -- texts that come again -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keeping(encoder_path: Path) -> Iterator[RunningEngine]:
    """An encoder that keeps vectors, as engines do unless they are told not to."""
    with engine(encoder_path) as running:
        running.ready()
        yield running


def n_known(running: RunningEngine, *texts: str, op: str = "embed", **more: Any) -> int:
    """How many of these texts are answered without being computed."""
    args = embed_args(*texts, **more) if op == "embed" else rank_args(*texts, **more)
    reply = running.call(op, **args)
    assert reply.error is None, reply.error
    return int(reply.value["cached_inputs"])


def test_a_text_that_comes_again_is_not_computed_again(keeping: RunningEngine) -> None:
    first = vectors(keeping, "the sea", "is deep")

    again = vectors(keeping, "is deep", "and cold", "the sea")

    assert np.array_equal(again[[2, 0]], first)
    assert n_known(keeping, "the sea", "and warm", "the sea") == 2
    counts = keeping.call("embed", **embed_args("the sea", "it is")).value
    assert 0 < counts["cached_tokens"] < counts["prompt_tokens"]


def test_a_kept_vector_is_cut_and_scaled_as_each_request_asks(keeping: RunningEngine) -> None:
    whole = vectors(keeping, "the moon")

    cut = vectors(keeping, "the moon", dimensions=8, normalize=True)

    assert n_known(keeping, "the moon") == 1
    assert np.allclose(cut, whole[:, :8] / np.linalg.norm(whole[:, :8]), atol=1e-6)


def test_a_prefix_makes_another_text(keeping: RunningEngine) -> None:
    plain = vectors(keeping, "the sun")

    asked = vectors(keeping, "the sun", prefix="query: ")

    assert not np.allclose(asked, plain, atol=1e-3)
    assert np.array_equal(asked, vectors(keeping, "query: the sun"))
    assert n_known(keeping, "the sun", prefix="query: ") == 1


def test_each_owner_has_its_own_and_forgets_its_own(keeping: RunningEngine) -> None:
    n_known(keeping, "a secret", owner="ada")
    assert n_known(keeping, "a secret", owner="bob") == 0
    assert n_known(keeping, "a secret", owner="bob") == 1

    keeping.call("forget", session=None, owner="ada", prefix="ada/", before_rid=1)

    assert n_known(keeping, "a secret", owner="ada") == 0
    assert n_known(keeping, "a secret", owner="bob") == 1


def test_vectors_are_given_up_while_memory_is_short(keeping: RunningEngine) -> None:
    n_known(keeping, "a star")

    spared = keeping.call("spare", share=0.5).value

    assert spared["freed_bytes"] >= 4 * WIDTH
    assert n_known(keeping, "a star") == 0
    keeping.call("spare", share=1.0)


def test_a_pair_that_comes_again_keeps_its_score(tmp_path: Path) -> None:
    documents = ("a cat sleeps", "blue is a colour", "dogs bark")
    with engine(write_encoder(tmp_path / "r.gguf", pooling=PoolingType.RANK)) as running:
        running.ready()
        first = running.call("rerank", **rank_args("what is blue?", *documents)).value["ranked"]

        again = running.call("rerank", **rank_args("what is blue?", "new", *documents)).value

        assert again["cached_inputs"] == 3
        scores = {index - 1: score for index, score in again["ranked"] if index}
        assert scores == dict(first)
        assert n_known(running, "what is red?", *documents, op="rerank") == 0
