"""Answers `forget` calls, once the files are gone.

A client that is told that a session is forgotten may rely on it: a daemon that is killed the moment
after must not find the session again. Not: what is given up (`umad.forgetting`).
Owner: the step thread.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from umad.engine.mail.step_mail import ForgetMail
from umad.errors import InternalError
from umad.forgetting import Forgotten
from umad.protocol.link import EngineReply
from umad.scheduler.scheduled_request import Submission
from umad.session_names import asked_name
from umad.step import DiskDone, SessionForget

# Requests that still arrive are compared with so many calls. A request arrives within the time to
# tokenize it or to compile its grammar, and no client forgets so often in that time.
MOST_LATE = 64


@dataclass(slots=True, kw_only=True)
class _Open:
    """A call that is not answered yet."""

    call: int
    forgotten: Forgotten
    # Sessions whose files are still to be removed.
    waits_for: set[str]
    failed: bool = False


class ForgetDesk:
    """One engine's open `forget` calls, in order."""

    def __init__(self, emit: Callable[[EngineReply], None]) -> None:
        self._emit = emit
        self._open: list[_Open] = []
        self._late: deque[ForgetMail] = deque(maxlen=MOST_LATE)

    def begin(self, mail: ForgetMail, forgotten: Forgotten) -> None:
        """The scheduler has given up its part. Answer once the files are removed, too."""
        self._late.append(mail)
        # Files that an earlier call waits for are no longer known to the scheduler, and not yet
        # removed.
        waits_for = {name for other in self._open for name in other.waits_for} | forgotten.files
        opened = _Open(call=mail.call, forgotten=forgotten, waits_for=waits_for)
        if waits_for:
            self._open.append(opened)
        else:
            self._answer(opened)

    def arriving(self, admission: Submission) -> Submission:
        """`admission`; it leaves nothing behind if its session was forgotten while it was on its
        way.
        """
        for mail in self._late:
            if admission.rid < mail.before_rid and mail.what.takes(
                admission.session, admission.owner
            ):
                return replace(admission, session=None, leaves_nothing=True)
        return admission

    def disk_done(self, report: DiskDone) -> None:
        """A file was removed, or could not be."""
        operation = report.operation
        if not isinstance(operation, SessionForget):
            return
        for one in list(self._open):
            if operation.session not in one.waits_for:
                continue
            one.waits_for.discard(operation.session)
            one.failed |= not report.ok
            if not one.waits_for:
                self._open.remove(one)
                self._answer(one)

    def _answer(self, one: _Open) -> None:
        if one.failed:
            error = (InternalError.code, "a file of a session cannot be removed", None)
            self._emit(EngineReply(call=one.call, error=error))
            return
        # A session is one, however many sets of adapters its turns had.
        in_use = {asked_name(name) for name in one.forgotten.in_use}
        gone = {asked_name(name) for name in one.forgotten.sessions} - in_use
        value = {"sessions": sorted(gone), "in_use": sorted(in_use)}
        self._emit(EngineReply(call=one.call, value=value))
