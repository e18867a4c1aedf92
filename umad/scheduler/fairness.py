"""Virtual token counters: within a lane, apps share by tokens served (VTC, arXiv 2401.00588).

An app that comes back from idleness starts at the least counter of those who stayed, so it
neither owes for the past nor cashes in on it. Owner: the step thread.
"""

# A decoded token costs about a step's share, a prompt token a fraction: VTC's w_q = 2, w_p = 1.
PROMPT_WEIGHT = 1
GENERATED_WEIGHT = 2


class TokenCounters:
    """Counters of the apps of one lane."""

    def __init__(self) -> None:
        self._served: dict[str, int] = {}
        self._live: dict[str, int] = {}

    def enter(self, app: str) -> None:
        """One more request of `app` waits or runs."""
        if app not in self._live:
            least = min((self._served[other] for other in self._live), default=0)
            self._served[app] = max(self._served.get(app, 0), least)
        self._live[app] = self._live.get(app, 0) + 1

    def leave(self, app: str) -> None:
        """One request of `app` ended or left the lane."""
        self._live[app] -= 1
        if self._live[app]:
            return
        del self._live[app]
        # An idle app at or below everybody's level would be lifted there on return: forget it.
        least = min((self._served[other] for other in self._live), default=None)
        if least is None:
            self._served.clear()
        elif self._served[app] <= least:
            del self._served[app]

    def charge(self, app: str, *, prompt_tokens: int = 0, generated_tokens: int = 0) -> None:
        """`app` was served."""
        self._served[app] = (
            self._served.get(app, 0)
            + PROMPT_WEIGHT * prompt_tokens
            + GENERATED_WEIGHT * generated_tokens
        )

    def served(self, app: str) -> int:
        """Weighted tokens served to `app`; the least is next."""
        return self._served.get(app, 0)
