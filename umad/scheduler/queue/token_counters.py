"""Virtual token counters: within a lane, owners share by tokens served, and the apps of an owner
share what is theirs (VTC, arXiv 2401.00588).

An owner is whoever the daemon says stands behind a request: the machine's user, or one key. Whoever
asks under a thousand names of apps has one owner's share, and divides it among them.

An owner or app that comes back from idleness starts at the least counter of those who stayed, so it
neither owes for the past nor cashes in on it. Owner: the step thread.
"""

from dataclasses import dataclass, field

# A decoded token costs about a step's share, a prompt token a fraction: VTC's w_q = 2, w_p = 1.
PROMPT_WEIGHT = 1
GENERATED_WEIGHT = 2
# Idle names whose counters are remembered beside those that are live.
MOST_IDLE = 256


@dataclass(slots=True, eq=False)
class Account:
    """What one app has been served in a lane. served: weighted tokens. live: its requests that wait
    or run. owner: the account of whoever the app belongs to."""

    served: int = 0
    live: int = 0
    owner: "Account | None" = None

    def charge(self, n: int) -> None:
        """It was served `n` weighted tokens."""
        self.served += n
        if self.owner is not None:
            self.owner.served += n

    @property
    def turn(self) -> tuple[int, int]:
        """What was served to its owner and to itself; the least is next."""
        return (0 if self.owner is None else self.owner.served, self.served)


@dataclass(slots=True, eq=False)
class _Names:
    """Accounts of one level, by name. Those that are not live are few."""

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
        # An idle one at or below everybody's level would be lifted there on return: forget it.
        least = self._least()
        if least is None:
            self.accounts.clear()
        elif account.served <= least:
            del self.accounts[name]
        elif len(self.accounts) - self.n_live > MOST_IDLE:
            idle = [one for one, other in self.accounts.items() if not other.live]
            # It loses the least that is nearest to being forgotten anyway.
            del self.accounts[min(idle, key=lambda one: self.accounts[one].served)]

    def _least(self) -> int | None:
        return min((one.served for one in self.accounts.values() if one.live), default=None)


class TokenCounters:
    """Counters of the owners of one lane, and of their apps."""

    def __init__(self) -> None:
        self._owners = _Names()
        self._apps: dict[str, _Names] = {}

    def enter(self, owner: str, app: str) -> Account:
        """One more request of `app` waits or runs; its account until it leaves."""
        account = self._owners.enter(owner)
        return self._apps.setdefault(owner, _Names()).enter(app, account)

    def leave(self, owner: str, app: str) -> None:
        """One request of `app` ended or left the lane."""
        apps = self._apps[owner]
        apps.leave(app)
        self._owners.leave(owner)
        if not apps.n_live:
            del self._apps[owner]

    def __len__(self) -> int:
        """Names that are remembered."""
        n_apps = sum(len(apps.accounts) for apps in self._apps.values())
        return len(self._owners.accounts) + n_apps
