"""Completes a step's plan with what the draft model guesses.

Owner: the step thread.
"""

from collections.abc import Callable

from umad.draft_slices import DraftDone
from umad.engine.drafts.drafter import Drafter, OpenDraft
from umad.scheduler.speculation.drafting import DraftShape
from umad.scheduler.speculation.speculator import Speculator
from umad.step import StepPlan


class DraftDesk:
    """The draft model of one step loop."""

    def __init__(
        self, drafter: Drafter | None, with_drafted: Callable[[StepPlan, DraftDone], StepPlan]
    ) -> None:
        """drafter: None where there is no draft model. with_drafted: that of `Speculator`."""
        self._drafter = drafter
        self._with_drafted = with_drafted

    def completed(self, plan: StepPlan, has_mail: Callable[[], bool]) -> StepPlan:
        """The plan with the guesses that it asks for."""
        if self._drafter is None or not plan.drafts:
            return plan
        done = self._drafter.run(plan.drafts, lambda: not has_mail())
        return self._with_drafted(plan, done)

    def forget(self) -> None:
        """Give up all that the draft has read of anybody's texts."""
        if self._drafter is not None:
            self._drafter.clear()


NO_DRAFT = DraftDesk(None, lambda plan, done: plan)


def draft_desk(
    draft: OpenDraft | None,
    speculator: Speculator | None,
    *,
    n_target: int,
    now_ns: Callable[[], int],
) -> DraftDesk:
    """The desk of a draft and the scheduler's part that plans for it; one that does nothing where
    either is missing. n_target: the tokens that the draft's target knows."""
    if draft is None or speculator is None:
        return NO_DRAFT
    drafter = Drafter(draft.context, traffic=draft.traffic, n_target=n_target, now_ns=now_ns)
    return DraftDesk(drafter, speculator.with_drafted)


def draft_shape(draft: OpenDraft) -> DraftShape:
    """A draft, as the scheduler knows it."""
    return DraftShape(cost=draft.cost, batch_tokens=draft.context.batch_tokens)
