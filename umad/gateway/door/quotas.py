"""Limits the requests and tokens of each key per minute.

There is a bucket per key and quota, filled at the quota's rate up to one minute's worth. A request
takes one from the bucket of requests. From the bucket of tokens it takes its prompt's tokens when
the daemon has accepted it (an estimate until they are counted), and its answer's tokens as they are
sent. So a client that hangs up has paid for the work that was done.

Tokens that do not exist yet cannot be taken, so each request also *holds* those it may still use. A
request comes in while the bucket has more than the other requests hold. So a key overdraws its
bucket by at most one request's worth, however many requests it sends side by side.
Pure: time enters as `now_s`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from umad.gateway.door.keys import Caller
from umad.gateway.errors import RETRY_AFTER_S, TooMany

# Bytes of an average token of text. The estimate of a prompt counts for a moment, and for
# a client that leaves in that moment.
BYTES_PER_TOKEN = 4
# To tokenize costs a fraction of what it costs to read a prompt.
TOKENIZED_PER_TOKEN = 10
# The longest wait a client is told of: a bucket emptied by holds may be full again at once.
_LONGEST_WAIT_S = 3600.0


@dataclass(slots=True, kw_only=True)
class _Bucket:
    per_minute: int
    level: float
    at_s: float
    held: float = 0.0

    def fill(self, now_s: float) -> None:
        gained = (now_s - self.at_s) * self.per_minute / 60.0
        self.level = min(float(self.per_minute), self.level + gained)
        self.at_s = now_s

    def wait_s(self, wanted: float) -> float:
        """Seconds until the bucket has `wanted`; 0 if it has them now."""
        return max(0.0, (wanted - self.level) * 60.0 / self.per_minute)


class Meter:
    """Counts the tokens of one request whose key has a quota of them. `now_s` is the loop's clock.

    A request may generate several times, and holds tokens each time. `close` gives back the held
    ones.
    """

    def __init__(self, caller: Caller, bucket: _Bucket, now_s: Callable[[], float]) -> None:
        self._caller = caller
        self._bucket = bucket
        self._now_s = now_s
        self._held = 0.0

    def hold(self, tokens: int) -> None:
        """Set aside tokens that may be used. Raises `TooMany` if others' holds leave nothing."""
        bucket = self._bucket
        bucket.fill(self._now_s())
        if bucket.level - (bucket.held - self._held) <= 0:
            raise _too_many(self._caller, bucket, "tokens")
        self._held += tokens
        bucket.held += tokens

    def take(self, tokens: int) -> None:
        """Charge tokens that exist now; a negative number corrects an estimate that was too
        high.
        """
        self._bucket.fill(self._now_s())
        self._bucket.level -= tokens
        given_back = min(self._held, max(0, tokens))
        self._held -= given_back
        self._bucket.held -= given_back

    def pay(self, tokens: int) -> None:
        """Charge work that is about to be done; negative to correct it. Raises `TooMany`."""
        if tokens > 0:
            self.hold(0)
        self.take(tokens)

    def close(self) -> None:
        """Give back the held tokens: the request has ended."""
        self._bucket.held -= self._held
        self._held = 0.0


class Quotas:
    """The buckets of all keys.

    `most_tokens` is the most that one answer may have; an answer without a limit of its own holds
    so many. Buckets are few: those of the file of keys, each by its key's owner and not by its
    name.
    """

    def __init__(self, *, most_tokens: int = 2048) -> None:
        self.most_tokens = most_tokens
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def take(self, caller: Caller, now_s: float) -> None:
        """Take one request. Raises `TooMany` with the time to wait."""
        requests = self._bucket(caller, "requests", caller.requests_per_minute, now_s)
        tokens = self._bucket(caller, "tokens", caller.tokens_per_minute, now_s)
        if requests is not None and requests.wait_s(1.0) > 0:
            raise _too_many(caller, requests, "requests", wanted=1.0)
        if tokens is not None and tokens.level - tokens.held <= 0:
            raise _too_many(caller, tokens, "tokens")
        if requests is not None:
            requests.level -= 1

    def meter(self, caller: Caller, now_s: Callable[[], float]) -> Meter | None:
        """A meter for the tokens of one request; None for a key without a quota of tokens."""
        bucket = self._bucket(caller, "tokens", caller.tokens_per_minute, now_s())
        return None if bucket is None else Meter(caller, bucket, now_s)

    def _bucket(
        self, caller: Caller, what: str, per_minute: int | None, now_s: float
    ) -> _Bucket | None:
        if per_minute is None:
            return None
        which = (caller.asker.owner or caller.name, what)
        bucket = self._buckets.get(which)
        if bucket is None:
            bucket = _Bucket(per_minute=per_minute, level=float(per_minute), at_s=now_s)
            self._buckets[which] = bucket
        bucket.fill(now_s)
        return bucket


def _too_many(caller: Caller, bucket: _Bucket, what: str, wanted: float = 0.0) -> TooMany:
    # Held tokens may come back at any moment; used ones come back with time.
    wait_s = min(bucket.wait_s(wanted), _LONGEST_WAIT_S) or RETRY_AFTER_S
    return TooMany(
        f"the key {caller.name} may use {bucket.per_minute} {what} a minute", retry_after_s=wait_s
    )
