"""What is asked for after a cut, so that no token is lost and nothing comes twice."""

from dataclasses import replace

from umad.client.remote.progress import AnswerProgress
from umad.request import AnswerSoFar, GenerateRequest, SamplingParams
from umad.service import Accepted, Tokens

MODEL = "a" * 32
ACCEPTED = Accepted(
    request="r1",
    model="nano",
    lane="interactive",
    queue_position=0,
    seed=7,
    max_tokens=40,
    fingerprint=MODEL,
)
ASKED = GenerateRequest(prompt="def", sampling=SamplingParams(seed=7, max_tokens=40))
RESUMED = replace(ASKED, resume=AnswerSoFar(tokens=(1, 2), fingerprint=MODEL))


def test_an_answer_goes_on_behind_the_tokens_that_came() -> None:
    progress = AnswerProgress(ASKED)
    progress.heard(ACCEPTED, 0.0)
    progress.heard(Tokens(index=0, text="x", ids=(3,)), 0.0)

    assert progress.rest(1.0).resume == AnswerSoFar(tokens=(3,), fingerprint=MODEL)


def test_an_answer_that_was_resumed_and_is_cut_again_keeps_what_its_client_brought() -> None:
    progress = AnswerProgress(RESUMED)
    progress.heard(ACCEPTED, 0.0)

    assert progress.rest(1.0).resume == RESUMED.resume

    progress.heard(Tokens(index=0, text="x", ids=(3,)), 0.0)

    assert progress.rest(2.0).resume == AnswerSoFar(tokens=(1, 2, 3), fingerprint=MODEL)


def test_a_text_behind_the_last_token_comes_once() -> None:
    progress = AnswerProgress(replace(ASKED, sampling=replace(ASKED.sampling, stop=("abc",))))
    last = Tokens(index=0, text="ab", ids=())
    progress.heard(ACCEPTED, 0.0)
    progress.heard(Tokens(index=0, text="x", ids=(3,)), 0.0)

    assert progress.heard(last, 0.0) == last
    # The connection ends before the end of the answer comes, and another machine ends it.
    progress.rest(1.0)
    progress.heard(ACCEPTED, 1.0)

    assert progress.heard(last, 1.0) is None
