"""The wrapper on the real library, with the model that ships."""

import ctypes
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.engine.nano_context import TOKENS, feed, new_context, step
from umad import nano
from umad.engine.llamacpp import llama

ABORTED = 2
WAIT_S = 60.0


@pytest.fixture(scope="module")
def model() -> Iterator[llama.Model]:
    llama.start()
    opened = llama.Model(str(nano.path()), gpu_layers=0)
    yield opened
    opened.close()


@pytest.fixture
def context(model: llama.Model) -> Iterator[llama.Context]:
    made = new_context(model)
    yield made
    made.close()


def test_how_a_prompt_is_cut_into_slices_changes_no_bit(context: llama.Context) -> None:
    whole = feed(context, 0, 256)
    cells = context.whole(0)

    for slice_tokens in (1, 7, 64, 100):
        context.clear()

        assert feed(context, 0, slice_tokens).tobytes() == whole.tobytes()
        assert context.whole(0) == cells


def test_what_shares_the_batch_changes_no_bit(context: llama.Context) -> None:
    alone = feed(context, 0, 64)
    context.clear()
    step(context, (0, 0, TOKENS[:-1], False), (1, 0, TOKENS[50:90], False))

    _, rows = step(
        context,
        (0, TOKENS.size - 1, TOKENS[-1:], True),
        (1, 40, TOKENS[:1], True),
        (2, 0, TOKENS[20:100], True),
    )

    assert rows[0].tobytes() == alone.tobytes()


def test_rows_of_logits_come_in_the_order_of_the_batch(
    model: llama.Model, context: llama.Context
) -> None:
    _, one = step(context, (0, 0, TOKENS[:5], True))
    _, two = step(context, (1, 0, TOKENS[5:9], True))
    context.clear()

    _, rows = step(context, (4, 0, TOKENS[:5], True), (3, 0, TOKENS[5:9], True))

    assert rows.shape == (2, model.n_vocab)
    assert rows[0].tobytes() == one[0].tobytes()
    assert rows[1].tobytes() == two[0].tobytes()


def test_a_shared_prefix_is_as_good_as_a_computed_one(context: llama.Context) -> None:
    expected = feed(context, 0, 64)
    context.trim(0, 100)
    context.copy(0, 1, 100)

    code, rows = step(context, (1, 100, TOKENS[100:], True))

    assert code == 0
    assert (context.length(0), context.length(1)) == (100, TOKENS.size)
    assert rows[0].tobytes() == expected.tobytes()


def test_a_full_pool_says_so_and_changes_nothing(model: llama.Model) -> None:
    context = new_context(model, n_cells=256)
    tokens = np.resize(TOKENS, 250).astype(np.int32)
    step(context, (0, 0, tokens, False))

    code, _ = step(context, (1, 0, TOKENS[:50], True))

    assert code == 1
    assert (context.length(0), context.length(1)) == (250, 0)
    context.close()


# The binding, which only the engine's own modules import.
lib: Any = vars(llama)["lib"]
_Callback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)


def test_an_abort_from_another_thread_ends_a_decode_at_a_whole_micro_batch(
    model: llama.Model,
) -> None:
    context = new_context(model, n_cells=4096, batch=2048, ubatch=64)
    tokens = np.resize(TOKENS, 2000).astype(np.int32)
    flag, looks = context.abort_flag, itertools.count(1)
    is_under_way, is_set = threading.Event(), threading.Event()

    def look(argument: int | None) -> bool:
        """llama.cpp looks before each node of its graph: here, in the midst, the other comes."""
        if next(looks) == 1000:
            is_under_way.set()
            assert is_set.wait(WAIT_S)
        return bool(flag.callback(argument))

    def abort() -> None:
        if is_under_way.wait(WAIT_S):
            flag.set()
            is_set.set()

    callback = _Callback(look)
    lib.llama_set_abort_callback(context._handle, callback, flag.argument)
    other = threading.Thread(target=abort)
    other.start()

    code, _ = step(context, (0, 0, tokens, True))

    other.join()
    lib.llama_set_abort_callback(context._handle, flag.callback, flag.argument)
    assert code == ABORTED
    kept = context.length(0)
    assert 0 < kept < tokens.size
    assert kept % 64 == 0
    context.abort_flag.clear()
    assert step(context, (0, kept, tokens[kept : kept + 64], True))[0] == 0
    context.close()


@pytest.mark.parametrize(
    ("load", "words"),
    [(lambda: llama.Model("/nowhere.gguf"), "failed"), (lambda: llama.Model(__file__), "magic")],
)
def test_a_failed_load_gives_llama_cpps_own_reason(
    load: Callable[[], llama.Model], words: str
) -> None:
    with pytest.raises(llama.LlamaError, match=words):
        load()


def test_pieces_put_together_are_the_text(model: llama.Model) -> None:
    text = "def naïve(日本):\n\treturn '🙂'".encode()

    ids = model.tokenize(text, add_special=False, parse_special=False)

    assert b"".join(model.piece(int(token), special=False) for token in ids) == text
    assert model.eog_tokens()
    assert all(model.piece(token, special=False) == b"" for token in model.eog_tokens())


def test_text_can_be_tokenized_on_many_threads_while_a_decode_runs(
    model: llama.Model, context: llama.Context
) -> None:
    text = ("class Daemon:\n    def run(self) -> None: ...\n" * 20).encode()
    expected = model.tokenize(text, add_special=True, parse_special=True)

    with ThreadPoolExecutor(4) as pool:
        found = [
            pool.submit(model.tokenize, text, add_special=True, parse_special=True)
            for _ in range(40)
        ]
        feed(context, 0, 64)

    assert all(one.result().tobytes() == expected.tobytes() for one in found)
