"""Guesses from other streams of the same app, on a model that repeats itself and on nano."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.guessing_loop import SAMPLED, Answers, Asked, looked_at
from tests.engine.nano_context import new_context
from tests.engine.served_loop import N_VOCAB
from tests.engine.test_guesses import RepeatingRunner
from umad import nano
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.decode_runner import DecodeRunner
from umad.engine.mail.step_mail import ForgetMail, Mail
from umad.engine.steps.cutter import Cutter
from umad.forgetting import ForgetScope
from umad.protocol.link import CancelOrder
from umad.units import NS_PER_MS

MAX_SEQS = 17
# It says hardly anything twice.
PROSE = "The lighthouse keeper had not spoken to anyone since the first storm of the winter, when"


@given(
    prompts=st.lists(
        st.tuples(
            st.lists(st.integers(3, N_VOCAB - 1), min_size=1, max_size=12),
            st.sampled_from(["editor", "terminal"]),
            st.booleans(),
        ),
        min_size=2,
        max_size=5,
    ),
    n_at_once=st.integers(1, 3),
    temperature=st.sampled_from([0.0, 0.8]),
    cancelled_at=st.integers(1, 9),
)
@settings(max_examples=30, deadline=None)
def test_no_answer_changes_whatever_other_streams_have_said(
    prompts: list[tuple[list[int], str, bool]],
    n_at_once: int,
    temperature: float,
    cancelled_at: int,
) -> None:
    # One seed: the same prompt has the same answer.
    sampling = replace(SAMPLED, temperature=temperature, max_tokens=40, ignore_eos=True)
    asked = [
        Asked(rid=rid, prompt=tuple(prompt * 3), sampling=sampling, app=app, speculates=guesses)
        for rid, (prompt, app, guesses) in enumerate([*prompts, prompts[0], prompts[0]], 1)
    ]

    together = Answers(
        RepeatingRunner(),
        *asked[:n_at_once],
        speculates=True,
        later=asked[n_at_once:],
        mail={cancelled_at: [CancelOrder(rid=1)]},
    )

    for one in asked:
        ids, text, *_ = together.told(one.rid)
        plain, plain_text, *_ = Answers(RepeatingRunner(), one, speculates=False).told(one.rid)
        if one.rid == 1:
            assert ids == plain[: len(ids)]
        else:
            assert (ids, text) == (plain, plain_text)


@pytest.fixture(scope="module")
def model() -> Iterator[llama.Model]:
    llama.start()
    model = llama.Model(str(nano.path()), gpu_layers=0)
    yield model
    model.close()


def answers(model: llama.Model, first: Asked, *later: Mail | Asked, speculates: bool) -> Answers:
    # With quantised KV the bits of a result do not depend on the rows beside it.
    context = new_context(model, max_seqs=MAX_SEQS, n_cells=2048)
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
            first,
            speculates=speculates,
            now_ns=now_ns,
            later=later,
            n_cells=2048,
        )
    finally:
        context.close()


def asked_of(model: llama.Model, rid: int) -> Asked:
    tokens = model.tokenize(PROSE.encode(), add_special=True, parse_special=False)
    return Asked(
        rid=rid,
        prompt=tuple(tokens.tolist()),
        sampling=replace(SAMPLED, temperature=0.9, ignore_eos=True, max_tokens=120),
        seed=7,
        n_vocab=model.n_vocab,
        eog=model.eog_tokens(),
    )


def test_an_answer_that_another_stream_of_the_app_gave_takes_few_steps(model: llama.Model) -> None:
    first, again, once_more = (asked_of(model, rid) for rid in (1, 2, 3))
    plain = answers(model, first, again, speculates=False)

    guessed = answers(model, first, again, once_more, speculates=True)

    for rid in (1, 2, 3):
        assert guessed.told(rid)[0] == plain.told(1)[0]
    alone = guessed.n_steps_of(1)
    assert guessed.n_steps_of(2) < 0.5 * alone
    # The app is known for it now.
    assert guessed.n_steps_of(3) < 0.25 * alone


@pytest.mark.parametrize(
    "other",
    [{"app": "another"}, {"owner": "somebody else"}],
    ids=["another app", "another owner"],
)
def test_an_answer_of_another_app_is_not_copied(model: llama.Model, other: dict[str, str]) -> None:
    first, again = asked_of(model, 1), replace(asked_of(model, 2), **other)  # type: ignore[arg-type]

    guessed = answers(model, first, again, speculates=True)

    assert guessed.told(2)[0] == guessed.told(1)[0]
    assert guessed.n_steps_of(2) > 0.8 * guessed.n_steps_of(1)


@pytest.mark.parametrize("what", ["speculates", "leaves_nothing", "forgotten"])
def test_an_answer_that_is_kept_for_nobody_is_not_copied(model: llama.Model, what: str) -> None:
    first, again = asked_of(model, 1), asked_of(model, 2)
    between: list[Mail] = []
    match what:
        case "speculates":
            first = replace(first, speculates=False)
        case "leaves_nothing":
            first = replace(first, leaves_nothing=True)
        case _:
            between = [ForgetMail(call=1, what=ForgetScope(), before_rid=2)]

    guessed = answers(model, first, *between, again, speculates=True)

    assert guessed.told(2)[0] == guessed.told(1)[0]
    assert guessed.n_steps_of(2) > 0.6 * guessed.n_steps_of(1)


def test_two_agents_that_write_the_same_copy_from_the_one_that_is_ahead(
    model: llama.Model,
) -> None:
    """The second one comes while the first one runs, and catches up."""
    first, later = asked_of(model, 1), asked_of(model, 2)
    context = new_context(model, max_seqs=MAX_SEQS, n_cells=2048)
    now_ns = looked_at(NS_PER_MS)
    runner = DecodeRunner(
        context,
        capacity=256,
        cutter=Cutter(abort=context.abort_flag.set, clear=context.abort_flag.clear),
        can_cut=False,
        now_ns=now_ns,
        scratch=MAX_SEQS - 1,
    )
    try:
        together = Answers(
            runner, first, speculates=True, now_ns=now_ns, mail={60: [later.arrival()]}
        )
    finally:
        context.close()

    assert together.told(2)[0] == together.told(1)[0]
    assert together.n_steps_of(2) < 0.8 * together.n_steps_of(1)
