"""How much each key may ask for in a minute.

A bucket per key and quota: filled at the quota's rate up to one minute's worth, requests take one,
tokens are taken once they are known, so a bucket may go below zero and is waited for. Pure: time
enters as `now_s`.
"""

from dataclasses import dataclass

from umad.gateway.door.keys import Caller
from umad.gateway.errors import TooMany


@dataclass(slots=True, kw_only=True)
class _Bucket:
    per_minute: int
    level: float
    at_s: float

    def fill(self, now_s: float) -> None:
        gained = (now_s - self.at_s) * self.per_minute / 60.0
        self.level = min(float(self.per_minute), self.level + gained)
        self.at_s = now_s

    def wait_s(self, wanted: float) -> float:
        """Seconds until `wanted` is there; 0 where it is."""
        return max(0.0, (wanted - self.level) * 60.0 / self.per_minute)


class Quotas:
    """Callers are few: those of the file of keys."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def take(self, caller: Caller, now_s: float) -> None:
        """One request. Raises `TooMany` with how long to wait."""
        requests = self._bucket(caller.name, "requests", caller.requests_per_minute, now_s)
        tokens = self._bucket(caller.name, "tokens", caller.tokens_per_minute, now_s)
        for bucket, wanted, what in ((requests, 1.0, "requests"), (tokens, 0.0, "tokens")):
            if bucket is not None and (wait_s := bucket.wait_s(wanted)) > 0:
                raise TooMany(
                    f"the key {caller.name} may use {bucket.per_minute} {what} a minute",
                    retry_after_s=wait_s,
                )
        if requests is not None:
            requests.level -= 1

    def spend(self, caller: Caller, tokens: int, now_s: float) -> None:
        """Tokens that a request of `caller` turned out to take, its prompt's too."""
        bucket = self._bucket(caller.name, "tokens", caller.tokens_per_minute, now_s)
        if bucket is not None:
            bucket.level -= tokens

    def _bucket(
        self, caller: str, what: str, per_minute: int | None, now_s: float
    ) -> _Bucket | None:
        if per_minute is None:
            return None
        bucket = self._buckets.get((caller, what))
        if bucket is None:
            bucket = _Bucket(per_minute=per_minute, level=float(per_minute), at_s=now_s)
            self._buckets[caller, what] = bucket
        bucket.fill(now_s)
        return bucket
