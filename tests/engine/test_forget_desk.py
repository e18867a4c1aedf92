"""A call to forget is answered once the files are gone; it holds for requests on their way."""

import numpy as np
import pytest

from umad.engine.mail.step_mail import ForgetMail
from umad.engine.sessions.forget_desk import ForgetDesk
from umad.forgetting import ForgetScope, Forgotten
from umad.protocol.link import EngineReply
from umad.scheduler.scheduled_request import Submission
from umad.step import DiskDone, SessionForget

FILE = Forgotten(sessions=frozenset({"a"}), files=frozenset({"a"}))


def mail(call: int, session: str | None = "a", *, before_rid: int = 0) -> ForgetMail:
    return ForgetMail(call=call, what=ForgetScope(session=session), before_rid=before_rid)


def removed(session: str, *, ok: bool = True) -> DiskDone:
    return DiskDone(operation=SessionForget(session=session), ok=ok)


def admission(rid: int, session: str | None) -> Submission:
    return Submission(
        rid=rid,
        tokens=np.array([1], np.int32),
        n_prompt=1,
        max_new_tokens=1,
        lane="interactive",
        app="a",
        session=session,
    )


def test_nothing_on_disk_is_answered_at_once() -> None:
    said: list[EngineReply] = []

    ForgetDesk(said.append).begin(mail(1), Forgotten(in_use=frozenset({"a"})))

    assert said == [EngineReply(call=1, value={"sessions": [], "in_use": ["a"]})]


def test_an_answer_waits_for_its_file_and_so_does_a_second_call() -> None:
    said: list[EngineReply] = []
    desk = ForgetDesk(said.append)
    desk.begin(mail(1), FILE)
    desk.begin(mail(2), Forgotten())
    desk.disk_done(removed("another"))
    assert said == []

    desk.disk_done(removed("a"))

    assert [(one.call, one.value) for one in said] == [
        (1, {"sessions": ["a"], "in_use": []}),
        (2, {"sessions": [], "in_use": []}),
    ]


def test_a_file_that_cannot_be_removed_is_not_said_to_be_gone() -> None:
    said: list[EngineReply] = []
    desk = ForgetDesk(said.append)
    desk.begin(mail(1), FILE)

    desk.disk_done(removed("a", ok=False))

    assert said[0].error is not None


@pytest.mark.parametrize(
    ("rid", "session", "leaves_nothing"),
    [(6, "a", True), (6, "b", False), (6, None, False), (7, "a", False)],
)
def test_a_request_on_its_way_leaves_nothing_and_a_later_one_does(
    rid: int, session: str | None, leaves_nothing: bool
) -> None:
    desk = ForgetDesk(lambda reply: None)
    desk.begin(mail(1, before_rid=7), Forgotten())

    assert desk.arriving(admission(rid, session)).leaves_nothing is leaves_nothing
