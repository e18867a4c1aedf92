"""A draft model beside the one that ships: the same answers in fewer steps, whatever it says."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.draft_files import shuffled, with_another_token
from tests.engine.guessing_loop import GREEDY, SAMPLED, Answers, Asked, looked_at
from tests.engine.harness import start
from tests.engine.nano_context import new_context
from tests.engine.tiny_models import write_mamba
from umad import nano
from umad.config import EngineSettings
from umad.engine.drafts.drafter import DraftContext
from umad.engine.facts import StepTraffic
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.decode_runner import DecodeRunner
from umad.engine.llamacpp.draft_model import DRAFT_SEQS, DraftPool, FoundDraft, find_draft
from umad.engine.llamacpp.estimating import estimate
from umad.engine.steps.cutter import Cutter
from umad.errors import ModelLoadFailed
from umad.models.drafts import AUTO
from umad.models.sizes import WeightBytes
from umad.protocol.link import CancelOrder
from umad.request import BACKGROUND, SamplingParams
from umad.scheduler.costs.step_cost import CostModel
from umad.units import NS_PER_MS

PROSE = "It was a quiet morning, and nobody in the village knew that"
MAX_SEQS = 17
N_TOKENS = 90


@dataclass
class Draft:
    """Its decodes are said to cost next to nothing, so it is always worth asking."""

    context: DraftContext
    traffic: StepTraffic
    cost: CostModel


@pytest.fixture(scope="module")
def model() -> Iterator[llama.Model]:
    llama.start()
    model = llama.Model(str(nano.path()), gpu_layers=0)
    yield model
    model.close()


@pytest.fixture(scope="module")
def babbler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[llama.Model]:
    """A model with the same tokens and other weights."""
    path = shuffled(tmp_path_factory.mktemp("drafts") / "babbler.gguf")
    model = llama.Model(str(path), gpu_layers=0)
    yield model
    model.close()


def draft_of(context: llama.Context, model: llama.Model) -> Draft:
    cost = CostModel()
    cost.learn_all([(n, 0, 0.01) for n in (1, 2, 4, 8)])
    cost.learn_all([(0, n, 0.0001 * n) for n in (4, 16, 64)])
    found = find_draft(options(nano.path(), draft="nano"))
    assert found is not None
    pool = DraftPool(model, context, replace(found.context, n_cells=1024))
    traffic = StepTraffic(weights=WeightBytes(dense=1), kv_cell_bytes=1, n_vocab=1, ubatch=64)
    return Draft(pool, traffic, cost)


def answers(model: llama.Model, *asked: Asked, draft: llama.Model | None, **more: Any) -> Answers:
    # With quantised KV the bits of a result do not depend on the rows beside it.
    context = new_context(model, max_seqs=MAX_SEQS)
    beside = None if draft is None else new_context(draft, max_seqs=DRAFT_SEQS)
    now_ns = looked_at(NS_PER_MS)
    try:
        return Answers(
            DecodeRunner(
                context,
                capacity=256,
                cutter=Cutter(abort=context.abort_flag.set, clear=context.abort_flag.clear),
                can_cut=False,
                now_ns=now_ns,
                scratch=MAX_SEQS - 1,
            ),
            *asked,
            speculates=draft is not None,
            draft=None if draft is None or beside is None else draft_of(beside, draft),
            now_ns=now_ns,
            **more,
        )
    finally:
        context.close()
        if beside is not None:
            beside.close()


def asked_of(
    model: llama.Model, sampling: SamplingParams = GREEDY, *, rid: int = 1, **more: Any
) -> Asked:
    text = f"Chapter {rid}. {PROSE}"
    tokens = model.tokenize(text.encode(), add_special=True, parse_special=False)
    return Asked(
        rid=rid,
        prompt=tuple(tokens.tolist()),
        sampling=replace(sampling, ignore_eos=True, max_tokens=N_TOKENS),
        seed=rid,
        n_vocab=model.n_vocab,
        eog=model.eog_tokens(),
        **more,
    )


def options(target: Path, *drafts: Path, draft: str) -> EngineOptions:
    files = drafts or (nano.path(),)
    return EngineOptions(
        name="model",
        path=str(target),
        engine=EngineSettings(
            ctx_size=1024, max_seqs=8, threads=1, gpu_layers=0, kv_type="q8", draft=draft
        ),
        drafts=tuple(map(str, files)),
    )


def test_a_model_that_drafts_for_itself_takes_few_steps_for_the_same_answer(
    model: llama.Model,
) -> None:
    plain = answers(model, asked_of(model), draft=None)
    drafted = answers(model, asked_of(model), draft=model)

    assert drafted.told() == plain.told()
    assert drafted.n_drafted > N_TOKENS / 2
    assert drafted.n_steps < 0.5 * plain.n_steps


@pytest.mark.parametrize(
    "sampling", [SAMPLED, replace(SAMPLED, logprobs=1, temperature=0.4)], ids=["hot", "seen"]
)
def test_an_answer_that_is_drawn_at_random_is_the_same(
    model: llama.Model, sampling: SamplingParams
) -> None:
    plain = answers(model, asked_of(model, sampling), draft=None)
    drafted = answers(model, asked_of(model, sampling), draft=model)

    assert drafted.told() == plain.told()
    assert drafted.n_drafted > 0


def test_a_draft_that_knows_no_language_changes_nothing_and_is_asked_little(
    model: llama.Model, babbler: llama.Model
) -> None:
    plain = answers(model, asked_of(model), draft=None)
    drafted = answers(model, asked_of(model), draft=babbler)

    assert drafted.told() == plain.told()
    assert 0 < drafted.n_drafted < N_TOKENS


def test_streams_that_are_drafted_together_answer_as_each_alone(model: llama.Model) -> None:
    asked = [asked_of(model, SAMPLED, rid=rid) for rid in (1, 2, 3)]

    plain = [answers(model, one, draft=None) for one in asked]
    drafted = answers(model, *asked, draft=model)

    for one, alone in zip(asked, plain, strict=True):
        assert drafted.told(one.rid) == alone.told(one.rid)
    assert drafted.n_drafted > 0


def test_a_stream_that_is_cancelled_while_it_is_drafted_leaves_the_other_alone(
    model: llama.Model,
) -> None:
    asked = [asked_of(model, rid=rid) for rid in (1, 2)]

    alone = answers(model, asked[0], draft=None)
    drafted = answers(model, *asked, draft=model, mail={20: [CancelOrder(rid=2)]})

    assert drafted.told(1) == alone.told(1)
    assert 0 < len(drafted.told(2)[0]) < N_TOKENS


def test_a_drafted_stream_that_has_lost_its_cells_goes_on_with_the_same_answer(
    model: llama.Model,
) -> None:
    first = asked_of(model, lane=BACKGROUND)
    # It needs nearly all of the pool.
    second = replace(asked_of(model, rid=2), prompt=asked_of(model).prompt * 6)

    plain = answers(model, first, draft=None)
    drafted = answers(model, first, draft=model, n_cells=256, mail={12: [second.arrival()]})

    assert len(drafted.told(2)[0]) == N_TOKENS
    assert any(piece.rid == 1 for plan in drafted.plans[12:] for piece in plan.prefill)
    assert drafted.told(1) == plain.told(1)
    assert drafted.n_drafted > 0


def test_a_draft_with_another_vocabulary_is_refused_with_the_first_token_that_differs(
    tmp_path: Path,
) -> None:
    llama.start()
    other = with_another_token(tmp_path / "other.gguf", b"return", b"nruter")

    with pytest.raises(ModelLoadFailed, match="'return' in the model and 'nruter' in the draft"):
        find_draft(options(nano.path(), other, draft="other"))


def test_a_draft_that_was_found_and_does_not_fit_is_left_out(tmp_path: Path) -> None:
    llama.start()
    other = with_another_token(tmp_path / "other.gguf", b"return", b"nruter")

    found = find_draft(options(nano.path(), other, nano.path(), draft=AUTO))

    assert isinstance(found, FoundDraft)
    assert found.path == nano.path()
    assert find_draft(options(nano.path(), other, draft=AUTO)) is None


def test_a_draft_whose_tokens_cannot_be_taken_back_is_refused(tmp_path: Path) -> None:
    llama.start()
    mamba = write_mamba(tmp_path / "mamba.gguf")

    with pytest.raises(ModelLoadFailed, match="tokens cannot be taken back"):
        find_draft(options(nano.path(), mamba, draft="mamba"))


def test_the_memory_of_a_draft_is_told_and_kept_free() -> None:
    llama.start()
    found = find_draft(options(nano.path(), draft="nano"))
    assert found is not None

    alone = estimate(replace(options(nano.path(), draft="nano"), drafts=()), ())
    both = estimate(options(nano.path(), draft="nano"), ())

    assert both.total_bytes - alone.total_bytes == both.draft_bytes == found.n_bytes
    assert both.most_tokens < alone.most_tokens
    assert "draft" in [part.name for part in both.parts]


def test_an_engine_tells_its_draft_and_answers_as_without(nano_path: Path) -> None:
    asked = {"prompt": PROSE, "max_tokens": 60, "ignore_eos": True}
    with start(replace(options(nano_path, draft="nano"), drafts=())) as running:
        assert running.ready()["draft"] is None
        plain = running.generate(1, **asked)

    with start(options(nano_path, draft="nano")) as running:
        facts = running.ready()
        drafted = [running.generate(rid, **asked) for rid in (1, 2)]

    assert facts["draft"]["path"] == str(nano_path)
    assert facts["draft"]["size_bytes"] == nano_path.stat().st_size
    assert facts["draft"]["context_bytes"] > 0
    assert [one.ids for one in drafted] == [plain.ids, plain.ids]


def test_an_engine_with_a_draft_that_does_not_fit_ends_with_one_line(
    nano_path: Path, tmp_path: Path
) -> None:
    other = with_another_token(tmp_path / "other.gguf", b"return", b"nruter")

    with start(options(nano_path, other, draft="other")) as running:
        fatal = running.fatal()

    assert fatal.code == "model_load_failed"
    assert "its vocabulary is another one" in fatal.message
