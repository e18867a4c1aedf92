"""One stream uses the context its model was trained on, unless the file or the user says more."""

from pathlib import Path
from typing import Any

import pytest

from tests.engine.harness import engine
from tests.engine.tiny_models import N_VOCAB, write_llama

TRAINED = 256
CELLS = 1024
YARN = {"type": "yarn", "factor": 2.0, "original_context_length": TRAINED}


def prompt(n_tokens: int) -> tuple[int, ...]:
    return tuple(3 + at % (N_VOCAB - 3) for at in range(n_tokens))


@pytest.mark.parametrize(
    ("scaling", "settings", "context", "advice"),
    [
        pytest.param({}, {}, TRAINED, "--ctx-per-stream goes beyond it", id="as trained"),
        pytest.param(YARN, {}, 2 * TRAINED, "--ctx-per-stream goes beyond it", id="stretched"),
        pytest.param(
            {}, {"ctx_per_stream": 400}, 400, "a larger --ctx-per-stream", id="the user wants more"
        ),
        pytest.param(
            {}, {"ctx_per_stream": 100}, 100, "a larger --ctx-per-stream", id="the user wants less"
        ),
    ],
)
def test_a_stream_ends_where_its_context_does(
    tmp_path: Path,
    scaling: dict[str, Any],
    settings: dict[str, Any],
    context: int,
    advice: str,
) -> None:
    path = write_llama(tmp_path / "m.gguf", context=TRAINED, scaling=scaling)
    with engine(path, ctx_size=CELLS, **settings) as running:
        facts = running.ready()
        too_long = running.generate(1, prompt_ids=prompt(context + 1)).refusal
        asks_too_much = running.generate(
            2, prompt_ids=prompt(context - 5), max_tokens=7, ignore_eos=True
        ).refusal
        fitted = running.generate(
            3, prompt_ids=prompt(context - 5), max_tokens=100, fit=True, ignore_eos=True
        )

    assert (facts["n_cells"], facts["n_ctx_train"]) == (CELLS, TRAINED)
    assert facts["text_tokens"] == facts["embed_tokens"] == context
    assert {too_long.code, asks_too_much.code} == {"prompt_too_long"}
    assert advice in too_long.message
    assert advice in asks_too_much.message
    assert len(fitted.ids) == 6  # the last one is never computed
