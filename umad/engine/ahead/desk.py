"""Decides when a next turn's prompt is computed ahead: while nobody else wants the engine.

Any arrival ends the work; what was computed by then stays, because the arrival may be that next
turn. Not: the prompt itself (`next_prompt`). Owner: the step thread.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from umad.engine.ahead.turns import AskedTurn, EndedTurn
from umad.engine.mail.step_mail import AheadMail
from umad.forgetting import ForgetScope
from umad.scheduler.scheduled_request import Submission
from umad.step import Finished

# An app that has asked so many first questions in a row, and never a second one, holds no
# conversations.
MOST_FIRST_QUESTIONS = 8
MOST_APPS = 256
# An answer that was cut at its limit is shown, and asked about, like any other.
_GOES_ON_AFTER = ("stop", "length")

_Asked = tuple[AskedTurn, Submission]


class Ends(Protocol):
    """The part of the scheduler that this desk uses."""

    def submit(self, admission: Submission, now_ns: int) -> None:
        """Take a request on."""
        ...

    def stop(self, rid: int) -> None:
        """End a request, and keep what it has computed."""
        ...


class AheadDesk:
    """The next turns of one engine's chats. put: has a prompt made; None to compute none ahead.
    lane: the lane of the lowest priority.
    """

    def __init__(
        self, scheduler: Ends, *, put: Callable[[EndedTurn], None] | None, lane: str
    ) -> None:
        self._scheduler = scheduler
        self._put = put
        self._lane = lane
        self._asked: dict[int, _Asked] = {}
        self._waiting: AheadMail | None = None
        # The number of the request that is being computed; 0 for none. They are below 0.
        self._live = 0
        self._last = 0
        # How many requests have arrived, so that a prompt which was made before one is known.
        self._n_arrivals = 0
        self._first_questions: OrderedDict[tuple[str, str], int] = OrderedDict()

    def admitted(self, admission: Submission, asked: AskedTurn | None) -> None:
        """A request is live, and asked about a chat."""
        if self._put is None or asked is None or admission.leaves_nothing:
            return
        if self._goes_on(admission, asked):
            self._asked[admission.rid] = asked, admission

    def give_way(self) -> None:
        """Somebody wants the engine."""
        self._n_arrivals += 1
        self._waiting = None
        self.stop()

    def stop(self) -> None:
        """End the work that is done ahead."""
        if self._live:
            live, self._live = self._live, 0
            self._scheduler.stop(live)

    def ended(self, finished: Finished, *, guarded: bool) -> None:
        """A request has ended, or work that was done ahead."""
        if finished.rid == self._live:
            self._live = 0
            return
        known = self._asked.pop(finished.rid, None)
        if known is None or self._put is None or not guarded:
            return
        if finished.reason not in _GOES_ON_AFTER:
            return
        asked, admission = known
        assert finished.tokens is not None
        self._put(
            EndedTurn(
                asked=asked,
                rid=finished.rid,
                tokens=finished.tokens,
                n_prompt=admission.n_prompt,
                app=admission.app,
                owner=admission.owner,
                salt=admission.salt,
                session=admission.session,
                n_arrivals=self._n_arrivals,
            )
        )

    def forget(self, what: ForgetScope) -> None:
        """Compute nothing ahead for chats that `what` covers."""
        for rid, (_, admission) in list(self._asked.items()):
            if what.takes(admission.session, admission.owner):
                del self._asked[rid]
        # A prompt that is being made may be of such a chat.
        self._n_arrivals += 1
        self._waiting = None

    def read(self, mail: AheadMail) -> None:
        """A prompt was made."""
        if mail.turn.n_arrivals == self._n_arrivals:
            self._waiting = mail

    def begin(self, now_ns: int) -> None:
        """Compute the prompt that waits. Call it while no request is live."""
        mail = self._waiting
        if mail is None or self._live:
            return
        self._waiting = None
        self._last -= 1
        turn = mail.turn
        self._scheduler.submit(
            Submission(
                rid=self._last,
                tokens=mail.ids,
                n_prompt=mail.ids.size,
                max_new_tokens=1,
                lane=self._lane,
                app=turn.app,
                session=turn.session,
                owner=turn.owner,
                salt=turn.salt,
                ahead=True,
            ),
            now_ns,
        )
        self._live = self._last

    @property
    def has_prompt(self) -> bool:
        """Whether a prompt waits to be computed."""
        return self._waiting is not None

    def _goes_on(self, admission: Submission, asked: AskedTurn) -> bool:
        """Whether the chat is likely to have a next turn."""
        key = (admission.owner, admission.app)
        n_before = self._first_questions.pop(key, 0)
        n_now = 0 if asked.is_later else n_before + 1
        self._first_questions[key] = n_now
        if len(self._first_questions) > MOST_APPS:
            self._first_questions.popitem(last=False)
        return admission.session is not None or n_now <= MOST_FIRST_QUESTIONS
