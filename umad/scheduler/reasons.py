"""Tells in words why requests wait, for `umad ps`.

It is called a few times a second at most, never within a step. Pure; owner: the step thread.
"""

from collections.abc import Iterable

from umad.scheduler.queue.placement import Placer, Tried
from umad.scheduler.queue.waiting_line import WaitingLine
from umad.scheduler.scheduled_request import RequestState, ScheduledRequest
from umad.scheduler.steps.candidates import Hold, Reason
from umad.step import StepPlan

_TRIED = {
    Tried.NO_ROOM: Reason.NO_CELLS,
    Tried.AFTER_COPIES: Reason.COPIES_OUT,
}


def reasons(
    entries: Iterable[ScheduledRequest],
    *,
    waiting: WaitingLine,
    placer: Placer,
    guarded: frozenset[str],
    holds: tuple[Hold, ...],
    plan: StepPlan,
    now_ns: int,
) -> dict[int, str]:
    """Return why each of `entries` waits, by request number. Those that `plan` serves are left out,
    but for newcomers whose first tokens are held up by the streams beside which they are read.

    holds: the holds of the last plan.
    """
    served = {row.rid for row in plan.decode} | {piece.rid for piece in plan.prefill}
    served |= {one.rid for one in (plan.rows, plan.encode) if one is not None}
    in_part = {piece.rid for piece in plan.prefill if plan.decode and not piece.wants_logits}
    found: dict[int, str] = {}
    for entry in entries:
        if entry.rid in served:
            if entry.rid in in_part and entry.lane in guarded:
                found[entry.rid] = Reason.STREAMS_BESIDE.value.format(n=len(plan.decode))
            continue
        if entry.state is RequestState.WAITING:
            found[entry.rid] = _unplaced(entry, waiting, placer, now_ns)
        else:
            is_guarded = entry.lane in guarded
            found[entry.rid] = _placed(entry, is_guarded, holds, plan).value
    return found


def _unplaced(entry: ScheduledRequest, waiting: WaitingLine, placer: Placer, now_ns: int) -> str:
    if entry.paused:
        return Reason.CLIENT.value
    if now_ns < entry.reads_until_ns:
        return Reason.SESSION_FILE.value
    if entry.follows:
        return Reason.SAME_PROMPT.value
    n_before = waiting.n_before(entry, now_ns)
    if n_before:
        return Reason.APP_LINE.value.format(n=n_before)
    if placer.lacks_number:
        return Reason.NO_NUMBER.value
    tried = placer.outcomes.get(entry.rid)
    return (Reason.OLDER_REQUEST if tried is None else _TRIED[tried]).value


def _placed(
    entry: ScheduledRequest, is_guarded: bool, holds: tuple[Hold, ...], plan: StepPlan
) -> Reason:
    if entry.paused:
        return Reason.CLIENT
    if entry.restore is not None:
        return Reason.COPIES_BACK
    if entry.span is not None and plan.has_media:
        return Reason.MEDIA
    for hold in holds:
        if entry in hold.others:
            return hold.reason
        if hold.newcomers and is_guarded and entry.state is RequestState.PREFILL:
            return hold.reason
        if hold.background and not is_guarded and entry not in hold.riders:
            return hold.reason
        if entry in hold.prompts:
            return hold.reason
    if is_guarded and entry.state is RequestState.PREFILL and plan.prefill:
        return Reason.NEWCOMERS
    return Reason.FULL_STEP
