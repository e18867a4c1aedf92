"""Counts the tokens served to each owner and app, so that a lane is shared fairly.

Within a lane the owners share by tokens served, and the apps of an owner share what the owner gets
(virtual token counters: VTC, arXiv 2401.00588). The daemon names the owner of each request: the
machine's user, or one key. An owner that asks under a thousand app names still has one owner's
share, divided among those names.

An owner or app that comes back after being idle starts at the least counter of those that stayed.
So its idle time gives it neither a debt nor a credit.

Owner: the step thread.
"""

from dataclasses import dataclass, field

# A decoded token costs about a step's share; a prompt token costs a fraction of that. These are
# VTC's weights w_q = 2, w_p = 1.
PROMPT_WEIGHT = 1
GENERATED_WEIGHT = 2
# The most idle names whose counters are remembered, beside those of live names.
MOST_IDLE = 256


@dataclass(slots=True, eq=False)
class Account:
    """The account of one app, or of one owner, in a lane."""

    # Weighted tokens served so far.
    served: int = 0
    # How many of its requests wait or run.
    live: int = 0
    # The account of the owner that the app belongs to.
    owner: "Account | None" = None

    def charge(self, n: int) -> None:
        """Book that `n` weighted tokens were served."""
        self.served += n
        if self.owner is not None:
            self.owner.served += n

    @property
    def turn(self) -> tuple[int, int]:
        """Tokens served to its owner and to itself; the account with the least is next."""
        return (0 if self.owner is None else self.owner.served, self.served)


@dataclass(slots=True, eq=False)
class _Names:
    """The accounts of all owners, or of one owner's apps, by name. Few idle ones are kept."""

    accounts: dict[str, Account] = field(default_factory=dict)
    n_live: int = 0

    def enter(self, name: str, owner: Account | None = None) -> Account:
        account = self.accounts.get(name)
        if account is None:
            account = self.accounts[name] = Account(owner=owner)
        if not account.live:
            account.served = max(account.served, self._least() or 0)
            self.n_live += 1
        account.live += 1
        return account

    def leave(self, name: str) -> None:
        account = self.accounts[name]
        account.live -= 1
        if account.live:
            return
        self.n_live -= 1
        # An idle account at or below the least live one would be lifted to it on return, so it can
        # be forgotten.
        least = self._least()
        if least is None:
            self.accounts.clear()
        elif account.served <= least:
            del self.accounts[name]
        elif len(self.accounts) - self.n_live > MOST_IDLE:
            idle = [one for one, other in self.accounts.items() if not other.live]
            # The idle account with the lowest counter would be forgotten next anyway.
            del self.accounts[min(idle, key=lambda one: self.accounts[one].served)]

    def _least(self) -> int | None:
        return min((one.served for one in self.accounts.values() if one.live), default=None)


class TokenCounters:
    """Counters of the owners of one lane, and of their apps."""

    def __init__(self) -> None:
        self._owners = _Names()
        self._apps: dict[str, _Names] = {}

    def enter(self, owner: str, app: str) -> Account:
        """Book that one more request of `app` waits or runs; return its account."""
        account = self._owners.enter(owner)
        return self._apps.setdefault(owner, _Names()).enter(app, account)

    def leave(self, owner: str, app: str) -> None:
        """Book that one request of `app` ended or left the lane."""
        apps = self._apps[owner]
        apps.leave(app)
        self._owners.leave(owner)
        if not apps.n_live:
            del self._apps[owner]

    def __len__(self) -> int:
        """How many names are remembered."""
        n_apps = sum(len(apps.accounts) for apps in self._apps.values())
        return len(self._owners.accounts) + n_apps
