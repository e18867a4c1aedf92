"""Decides what a draft model guesses: for which streams, how many tokens, and how much it reads.

A draft model is a small one with the same vocabulary. It guesses where the text itself tells
nothing. Its guesses are not for nothing, as those of `lookup` are:

    a guess     takes a decode of the draft for each token. That time is part of the price by which
                guesses are chosen, as it is learnt here
    reading     the draft has to read a text before it can guess. It reads while the text is
                written, in pieces no longer than a plain step. All its reading for a request takes
                at most a twentieth (`READ_SHARE`) of the time that the request itself has taken. So
                where an answer ends at once, no more than that is lost
    learning    only guesses that were made teach how often they are right. So a stream whose draft
                seems of no use is tried again after `TRY_EVERY` steps

Where the draft's guesses do not pay by the clock, they rest, apart from those of `lookup`
(`MeasuredGain`).

Not: computing anything (`umad.engine.drafts`), or verifying a guess.
Pure; owner: the step thread.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from umad.draft_slices import DraftCall, Drafted, DraftOrder
from umad.scheduler.costs.step_cost import CostModel, slice_cells
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.scheduler.speculation.acceptance import APP_RATE, APP_WEIGHT, MOST_APPS, STREAM_RATE
from umad.scheduler.speculation.choice import weighed
from umad.scheduler.speculation.gain import MeasuredGain, Pace

# All reading for a request, as a share of the time that the request itself has taken. A draft with
# a twentieth of a model's weights reads a prompt in about that share of the model's own time.
READ_SHARE = 0.05
# Fewer tokens are not read at once, unless they are all that is left: each decode reads the draft's
# weights anew.
LEAST_READ = 16
# So many unread tokens are computed together with the first guess. After a step whose guesses held
# there are two.
FEW_UNREAD = 4
# What is taken to be the share of right guesses while nothing is known.
FIRST_SHARE = 0.6
# A stream whose guesses seem too seldom right is tried again after so many steps.
TRY_EVERY = 256
# Below this share a guess would have to be for nothing to be worth a row.
HOPELESS = 0.2
# More guesses in a row than this hold too seldom: 0.9 of them each leave 0.18 of the last.
MOST_DRAFTED = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftShape:
    """A draft model, as the scheduler knows it."""

    # What its decodes cost, as far as that is known.
    cost: CostModel
    # The most tokens of a decode.
    batch_tokens: int


class _Share:
    """How often a guess is right, for one stream or one app."""

    __slots__ = ("_rate", "_seen", "value")

    def __init__(self, rate: float, value: float = FIRST_SHARE, *, seen: int = APP_WEIGHT) -> None:
        """seen: so many guesses `value` counts for."""
        self._rate = rate
        self._seen = seen
        self.value = value

    def learn(self, *, was_right: bool) -> None:
        self._seen += 1
        self.value += max(self._rate, 1 / self._seen) * (was_right - self.value)

    def survival(self, n: int) -> list[float]:
        chances, chance = [], 1.0
        for _ in range(n):
            chance *= self.value
            chances.append(chance)
        return chances


class DraftStream:
    """What is known of the draft's work for one stream."""

    __slots__ = ("_app", "_idle", "_n_held", "_own", "_start", "_tokens", "entry", "read_ms")

    def __init__(self, entry: ScheduledRequest, app: _Share) -> None:
        self.entry = entry
        self._app = app
        self._own = _Share(STREAM_RATE, app.value)
        # So many of its tokens the draft has read; None while that is not known, -1 where it
        # cannot.
        self._n_held: int | None = None
        # The latest guesses, from position `_start` on.
        self._start, self._tokens = 0, tuple[int, ...]()
        # Steps in which its guesses seemed not to be worth their price.
        self._idle = 0
        # What reading for it has taken.
        self.read_ms = 0.0

    @property
    def is_unknown(self) -> bool:
        """Whether the draft was never asked about it."""
        return self._n_held is None

    @property
    def n_unread(self) -> int:
        """How many known tokens the draft has not read; 0 where it cannot read them."""
        if self._n_held is None or self._n_held < 0:
            return 0
        return max(1, self.entry.n_tokens - self._n_held)

    @property
    def is_ready(self) -> bool:
        """Whether the draft can guess its next token at once."""
        return 0 < self.n_unread <= FEW_UNREAD

    @property
    def n_left(self) -> int:
        """The most guesses that it has a use for. The step brings one more token than hold."""
        return max(0, self.entry.limit - self.entry.n_tokens - 1)

    @property
    def chance(self) -> float:
        """The probability that its next guess is right."""
        return self._own.value

    @property
    def is_hopeless(self) -> bool:
        """Whether its guesses are hardly ever right, so that there is nothing to be read for."""
        return self._own.value < HOPELESS

    def follow(self) -> None:
        """Learn from the tokens that are known since the latest guesses."""
        tokens, self._tokens = self._tokens, ()
        entry = self.entry
        for at, token in enumerate(tokens, self._start):
            if at >= entry.n_tokens:
                break
            was_right = entry.tokens.item(at) == token
            self._own.learn(was_right=was_right)
            self._app.learn(was_right=was_right)
            if not was_right:
                self._n_held = min(self._n_held or 0, at)
                break

    def survival(self, most: int) -> list[float]:
        """For each of at most so many guesses, the probability that it and all before it hold."""
        return self._own.survival(min(most, MOST_DRAFTED))

    def was_chosen(self, n_guesses: int) -> None:
        """So many guesses of it were worth their price."""
        self._idle = 0 if n_guesses else self._idle + 1
        if self._idle >= TRY_EVERY:
            # The first guesses that fail end the trial.
            self._idle, self._own = 0, _Share(STREAM_RATE, seen=1)

    def told(self, drafted: Drafted) -> None:
        """Book what the draft has done."""
        self._n_held = drafted.n_held
        self._start, self._tokens = self.entry.n_tokens, drafted.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a draft is asked before a step."""

    orders: tuple[DraftOrder, ...] = ()
    # The number of guesses of each stream, from whatever source; None to leave it as it is.
    counts: list[int] | None = None
    # The places of the streams whose guesses the draft makes.
    drafted: frozenset[int] = frozenset()


NOTHING_ASKED = Asked()


class Drafting:
    """The draft model of one engine."""

    def __init__(self, shape: DraftShape, target: CostModel, whole: Pace) -> None:
        """target: the costs of the model that it guesses for. whole: as in `MeasuredGain`."""
        self.cost = shape.cost
        self.gain = MeasuredGain(whole)
        self._target = target
        self._batch_tokens = shape.batch_tokens
        self._apps: OrderedDict[Hashable, _Share] = OrderedDict()
        # The streams that are read now, and what that was expected to take.
        self._booked: list[tuple[DraftStream, float]] = []

    def stream(self, entry: ScheduledRequest) -> DraftStream | None:
        """What is known of a stream at its beginning; None where a draft cannot read it."""
        if entry.spans:  # it would read other tokens than stand there
            return None
        app = (entry.owner, entry.app)
        share = self._apps.get(app)
        if share is None:
            share = self._apps[app] = _Share(APP_RATE)
            if len(self._apps) > MOST_APPS:
                self._apps.popitem(last=False)
        self._apps.move_to_end(app)
        return DraftStream(entry, share)

    def asked(
        self,
        streams: Sequence[DraftStream | None],
        survivals: Sequence[Sequence[float]],
        step_ms: Callable[[int], float],
        *,
        most: int,
        each: bool,
        counts: list[int],
        gain: float,
    ) -> Asked:
        """What the draft is asked before a step of these streams.

        survivals, step_ms, most, each: as `choice.weighed` takes them, for the guesses that stand
        in the texts. counts, gain: what it has chosen of those.
        """
        plain_ms = step_ms(0)
        self._booked.clear()
        orders = [self._reading(one, plain_ms) for one in streams if one is not None]
        to_read = tuple([one for one in orders if one is not None])
        if to_read:
            return Asked(orders=to_read)
        firsts = [one[0] if one else 0.0 for one in survivals]
        ready = {
            at: stream
            for at, (stream, first) in enumerate(zip(streams, firsts, strict=True))
            if stream is not None and stream.is_ready and stream.chance > first
        }
        if not ready or not self.gain.may_try():
            return NOTHING_ASKED
        better = [*survivals]
        for at, stream in ready.items():
            better[at] = stream.survival(min(most, stream.n_left))
        first_ms, next_ms = self._prices([one.entry for one in ready.values()])

        def find_ms(some: Sequence[int]) -> float:
            n_calls = max([some[at] for at in ready])
            return first_ms + (n_calls - 1) * next_ms if n_calls else 0.0

        found, its_gain = weighed(better, step_ms, most=most, each=each, find_ms=find_ms)
        is_best = its_gain > gain
        for at, stream in ready.items():
            stream.was_chosen(found[at] if is_best else 0)
        if not is_best:
            return NOTHING_ASKED
        return Asked(
            counts=found,
            drafted=frozenset([at for at in ready if found[at]]),
            orders=tuple(
                [
                    _order(stream.entry, most_read=FEW_UNREAD, n_guesses=found[at])
                    for at, stream in ready.items()
                    if found[at]
                ]
            ),
        )

    def _prices(self, entries: Sequence[ScheduledRequest]) -> tuple[float, float]:
        """What the first guess for each of these streams takes the draft, and each further one."""
        n_cells = sum([entry.n_tokens for entry in entries])
        next_ms = self.cost.decode.at(len(entries), n_cells)
        # Two rows of each stream: the token of the last guess that held, and the one behind it.
        return self.cost.decode.at(2 * len(entries), 2 * n_cells), next_ms

    def _reading(self, stream: DraftStream, plain_ms: float) -> DraftOrder | None:
        """What is to be read of a stream's text before this step, or a question how much of it is
        read; None for nothing. plain_ms: what the step takes without guesses."""
        entry, n_unread = stream.entry, stream.n_unread
        if stream.is_unknown:
            return _order(entry)
        if n_unread <= FEW_UNREAD or self.gain.is_resting or stream.is_hopeless:
            return None
        budget_ms = min(plain_ms, self._read_ms(entry, plain_ms) - stream.read_ms)
        n_held = entry.n_tokens - n_unread
        # The last token is computed with the first guess.
        n_left = min(n_unread - 1, self._batch_tokens)
        n = self.cost.prefill.most(budget_ms, n_left, n_held) if budget_ms > 0 else 0
        if n < min(LEAST_READ, n_left):
            return None
        took_ms = self.cost.prefill.slice_ms(n, n_held)
        stream.read_ms += took_ms
        self._booked.append((stream, took_ms))
        return _order(entry, most_read=n)

    def learn(self, calls: Sequence[DraftCall], *, crowded: bool = False) -> None:
        """Learn what decodes of the draft cost, and book what reading has really taken."""
        booked_ms = sum([ms for _, ms in self._booked])
        if booked_ms:
            read_ms = sum([call.ms for call in calls if not call.n_rows])
            for stream, ms in self._booked:
                stream.read_ms += (read_ms / booked_ms - 1) * ms
            self._booked.clear()
        for call in calls:
            self.cost.learn(
                call.n_rows,
                call.n_tokens,
                call.ms,
                decode_cells=call.n_row_cells,
                prefill_cells=call.n_token_cells,
                crowded=crowded,
            )

    def _read_ms(self, entry: ScheduledRequest, plain_ms: float) -> float:
        """All that reading for a request may take by now."""
        n_cached = min(entry.n_cached or 0, entry.n_prompt)
        n_read = entry.n_prompt - n_cached
        took_ms = self._target.prefill.at(n_read, slice_cells(n_read, n_cached))
        return READ_SHARE * (took_ms + plain_ms * (entry.n_tokens - entry.n_prompt))


def _order(entry: ScheduledRequest, *, most_read: int = 0, n_guesses: int = 0) -> DraftOrder:
    """An order for one stream; without more it asks how much of its text the draft has read."""
    tokens = entry.tokens[: entry.n_tokens]
    return DraftOrder(entry.rid, tokens, entry.salt, most_read, n_guesses)
