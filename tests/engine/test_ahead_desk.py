"""When a next turn is computed ahead: at rest, for one chat, and until anybody comes."""

import numpy as np
import pytest

from umad.engine.ahead.desk import MOST_FIRST_QUESTIONS, AheadDesk
from umad.engine.ahead.turns import AskedTurn, EndedTurn
from umad.engine.mail.step_mail import AheadMail
from umad.forgetting import ForgetScope
from umad.request import FinishReason
from umad.scheduler.scheduled_request import Submission
from umad.step import Finished

TOKENS = np.arange(100, dtype=np.int32)
ASKED = AskedTurn(chat="[]", opening="", stops=())
LATER = AskedTurn(chat="[]", opening="", stops=(), is_later=True)


class Engine:
    """A desk, its scheduler, and the thread that makes prompts."""

    def __init__(self, *, is_on: bool = True) -> None:
        self.submitted: list[Submission] = []
        self.stopped: list[int] = []
        self.put: list[EndedTurn] = []
        self._rid = 0
        self.desk = AheadDesk(self, put=self.put.append if is_on else None, lane="background")

    def submit(self, admission: Submission, now_ns: int) -> None:
        self.submitted.append(admission)

    def stop(self, rid: int) -> None:
        self.stopped.append(rid)

    def arrive(
        self, asked: AskedTurn | None = ASKED, *, session: str | None = None, app: str = "app"
    ) -> int:
        self._rid += 1
        self.desk.give_way()
        self.desk.admitted(
            Submission(
                rid=self._rid,
                tokens=TOKENS[:50],
                n_prompt=50,
                max_new_tokens=50,
                lane="interactive",
                app=app,
                session=session,
                owner="me",
                salt="salt",
            ),
            asked,
        )
        return self._rid

    def end(self, rid: int, *, reason: FinishReason = "stop", guarded: bool = True) -> None:
        ended = Finished(
            rid=rid,
            reason=reason,
            prompt_tokens=50,
            cached_tokens=0,
            completion_tokens=50,
            tokens=TOKENS,
        )
        self.desk.ended(ended, guarded=guarded)

    def rest(self) -> None:
        """The thread has made what it was given, and the engine has nothing to do."""
        for turn in self.put:
            self.desk.read(AheadMail(turn=turn, ids=TOKENS))
        self.put.clear()
        self.desk.begin(0)


def test_a_chat_that_was_answered_is_computed_ahead_at_rest() -> None:
    engine = Engine()
    engine.end(engine.arrive(session="s"))

    engine.rest()

    (own,) = engine.submitted
    assert own.ahead
    assert own.rid < 0
    assert (own.lane, own.app, own.owner) == ("background", "app", "me")
    assert (own.salt, own.session) == ("salt", "s")
    assert own.tokens.tolist() == TOKENS.tolist()


def test_an_arrival_ends_what_is_computed_and_takes_the_place_of_what_waits() -> None:
    engine = Engine()
    engine.end(engine.arrive())
    engine.rest()

    engine.arrive()

    assert engine.stopped == [engine.submitted[0].rid]
    engine.rest()
    assert len(engine.submitted) == 1


def test_a_prompt_that_was_made_before_an_arrival_is_not_computed_after_it() -> None:
    engine = Engine()
    engine.end(engine.arrive())
    engine.arrive()

    engine.rest()

    assert engine.submitted == []


def test_one_is_computed_at_a_time_the_latest() -> None:
    engine = Engine()
    rids = engine.arrive(), engine.arrive()
    for rid in rids:
        engine.end(rid)

    engine.rest()
    engine.desk.begin(0)

    assert len(engine.submitted) == 1


def test_an_answer_that_was_cut_at_its_limit_has_a_next_turn() -> None:
    engine = Engine()
    engine.end(engine.arrive(), reason="length")

    engine.rest()

    assert len(engine.submitted) == 1


@pytest.mark.parametrize("reason", ["cancelled", "error"])
def test_an_answer_that_was_given_up_has_no_next_turn(reason: FinishReason) -> None:
    engine = Engine()
    engine.end(engine.arrive(), reason=reason)

    engine.rest()

    assert engine.submitted == []


def test_background_work_and_what_is_no_chat_have_no_next_turn() -> None:
    engine = Engine()
    engine.end(engine.arrive(), guarded=False)
    engine.end(engine.arrive(None))

    engine.rest()

    assert engine.submitted == []


def test_nothing_is_computed_where_it_is_turned_off() -> None:
    engine = Engine(is_on=False)
    engine.end(engine.arrive())

    engine.rest()

    assert engine.submitted == []


@pytest.mark.parametrize("when", ["asked", "made", "waiting"])
@pytest.mark.parametrize("what", [ForgetScope(session="s"), ForgetScope(owner="me"), ForgetScope()])
def test_what_is_forgotten_is_not_computed_again(when: str, what: ForgetScope) -> None:
    engine = Engine()
    rid = engine.arrive(session="s")
    if when == "asked":
        engine.desk.forget(what)
    engine.end(rid)
    if when == "made":
        engine.desk.forget(what)
    for turn in engine.put:
        engine.desk.read(AheadMail(turn=turn, ids=TOKENS))
    if when == "waiting":
        engine.desk.forget(what)

    engine.desk.begin(0)

    assert engine.submitted == []


def test_an_app_that_never_asks_a_second_question_is_not_served_ahead() -> None:
    engine = Engine()
    for _ in range(MOST_FIRST_QUESTIONS):
        engine.end(engine.arrive())
    engine.rest()
    assert len(engine.submitted) == 1

    engine.end(engine.arrive())
    engine.rest()
    assert len(engine.submitted) == 1

    engine.end(engine.arrive(app="other"))
    engine.rest()
    assert len(engine.submitted) == 2

    engine.end(engine.arrive(LATER))
    engine.rest()
    assert len(engine.submitted) == 3
