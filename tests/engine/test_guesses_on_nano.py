"""Guesses on the model that ships: its answers stay the same, and take fewer steps."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from tests.engine.guessing_loop import GREEDY, SAMPLED, Answers, Asked, looked_at
from tests.engine.harness import engine, submit
from tests.engine.nano_context import new_context
from tests.engine.test_parking import TINY_POOL, stats, story
from umad import nano
from umad.constraint import Constraint
from umad.engine.constraints.answer_mask import AnswerMask, MaskMaker, Phase
from umad.engine.constraints.guidance import Guidance
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.decode_runner import DecodeRunner
from umad.engine.steps.cutter import Cutter
from umad.request import BACKGROUND, SamplingParams
from umad.scheduler.speculation import speculator
from umad.units import NS_PER_MS

# An edit: the answer begins like the code that stands before it.
CODE = """def area(width, height):
    return width * height


def volume(width, height, depth):
    return width * height * depth


def area(width, height):
    return width"""
MAX_SEQS = 17


@pytest.fixture(scope="module")
def model() -> Iterator[llama.Model]:
    llama.start()
    model = llama.Model(str(nano.path()), gpu_layers=0)
    yield model
    model.close()


class CutsEverySecond(Cutter):
    """An arrival comes as soon as a step that it may cut begins, every second time."""

    n_armed = 0

    @override
    def arm(self) -> None:
        super().arm()
        self.n_armed += 1
        if self.n_armed % 2:
            self.cut()


def answers(
    model: llama.Model, *asked: Asked, speculates: bool, cutter: type[Cutter] = Cutter
) -> Answers:
    # With quantised KV the bits of a result do not depend on the rows beside it.
    context = new_context(model, max_seqs=MAX_SEQS)
    now_ns = looked_at(NS_PER_MS)
    try:
        return Answers(
            DecodeRunner(
                context,
                capacity=256,
                cutter=cutter(abort=context.abort_flag.set, clear=context.abort_flag.clear),
                can_cut=True,
                now_ns=now_ns,
                scratch=MAX_SEQS - 1,
            ),
            *asked,
            speculates=speculates,
            now_ns=now_ns,
        )
    finally:
        context.close()


def asked_of(model: llama.Model, sampling: SamplingParams, *, rid: int = 1, seed: int = 1) -> Asked:
    tokens = model.tokenize(CODE.encode(), add_special=True, parse_special=False)
    return Asked(
        rid=rid,
        prompt=tuple(tokens.tolist()),
        sampling=replace(sampling, ignore_eos=True),
        seed=seed,
        n_vocab=model.n_vocab,
        eog=model.eog_tokens(),
    )


@pytest.mark.parametrize(
    "sampling",
    [GREEDY, SAMPLED, replace(SAMPLED, temperature=0.3, repetition_penalty=1.05)],
    ids=["greedy", "sampled", "penalties"],
)
def test_an_answer_is_the_same_with_guesses(model: llama.Model, sampling: SamplingParams) -> None:
    asked = asked_of(model, sampling)

    plain = answers(model, asked, speculates=False)
    guessed = answers(model, asked, speculates=True)

    assert guessed.told() == plain.told()
    assert guessed.n_guesses > 0


def test_code_that_repeats_what_stands_before_it_takes_fewer_steps(model: llama.Model) -> None:
    asked = asked_of(model, GREEDY)

    plain = answers(model, asked, speculates=False)
    guessed = answers(model, asked, speculates=True)

    assert len(guessed.told()[0]) == len(plain.told()[0])
    assert guessed.n_steps < 0.85 * plain.n_steps


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_a_step_of_guesses_that_is_cut_changes_no_token(
    model: llama.Model, monkeypatch: pytest.MonkeyPatch, sampling: SamplingParams
) -> None:
    asked = asked_of(model, sampling)
    plain = answers(model, asked, speculates=False)
    # Every step with guesses takes longer than this, so an arrival may cut it.
    monkeypatch.setattr(speculator, "SHORT_MS", 0.0)

    guessed = answers(model, asked, speculates=True, cutter=CutsEverySecond)

    assert guessed.told() == plain.told()
    may_be_cut = [plan for plan in guessed.plans if plan.cuttable and plan.guesses]
    assert len(may_be_cut) > 1


ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "customer_identification_number": {"type": "integer", "minimum": 0, "maximum": 99},
        "preferred_delivery_address": {
            "type": "object",
            "properties": {
                "street_and_house_number": {"type": "string", "maxLength": 6},
                "postal_code": {"type": "string", "maxLength": 4},
            },
            "required": ["street_and_house_number", "postal_code"],
            "additionalProperties": False,
        },
        "is_subscribed_to_newsletter": {"type": "boolean"},
    },
    "required": [
        "customer_identification_number",
        "preferred_delivery_address",
        "is_subscribed_to_newsletter",
    ],
    "additionalProperties": False,
}


@pytest.mark.parametrize("sampling", [GREEDY, replace(SAMPLED, logprobs=1)], ids=["greedy", "seen"])
def test_the_keys_of_an_object_take_few_steps(model: llama.Model, sampling: SamplingParams) -> None:
    guidance, maker = Guidance(model), MaskMaker()

    def mask() -> AnswerMask:
        made = AnswerMask(
            guidance.compiled(Constraint.json_schema(ORDER)),
            maker,
            piece_of=lambda token: model.piece(token, special=True),
            phase=Phase.ANSWER,
        )
        made.start()
        return made

    asked = asked_of(model, sampling)
    asked = replace(asked, mask=mask, sampling=replace(sampling, max_tokens=200))

    plain = answers(model, asked, speculates=False)
    guessed = answers(model, asked, speculates=True)

    assert guessed.told() == plain.told()
    text = b"".join([model.piece(token, special=False) for token in guessed.told()[0]])
    assert json.loads(text).keys() == ORDER["properties"].keys()
    assert guessed.n_steps < 0.6 * plain.n_steps


def test_streams_with_guesses_of_their_own_leave_each_others_cells_alone(
    model: llama.Model,
) -> None:
    asked = [asked_of(model, SAMPLED, rid=rid, seed=rid) for rid in (1, 2, 3)]

    plain = answers(model, *asked, speculates=False)
    guessed = answers(model, *asked, speculates=True)

    for one in asked:
        assert guessed.told(one.rid) == plain.told(one.rid)
    assert guessed.n_guesses > 0


def test_a_stream_with_guesses_that_was_parked_goes_on_with_the_same_tokens(
    nano_path: Path,
) -> None:
    """Here the engine measures its device, and guesses where that pays."""
    prompt = story(1, 200)
    with engine(nano_path, **TINY_POOL) as running:
        running.ready()
        plain = running.generate(1, prompt_ids=prompt, max_tokens=120, ignore_eos=True)

    with engine(nano_path, **TINY_POOL, speculate=True) as running:
        running.ready()
        running.send(submit(1, lane=BACKGROUND, prompt_ids=prompt, max_tokens=120, ignore_eos=True))
        while len(running.of(1).ids) < 60:
            running.hear()
        for rid in (2, 3):  # each needs all of the pool
            running.generate(rid, prompt_ids=story(rid, 400), max_tokens=100, ignore_eos=True)
        parked = running.finish(1)[0]
        last = stats(running)[-1]

    assert parked.ids == plain.ids
    assert last.preemptions_total >= 1
