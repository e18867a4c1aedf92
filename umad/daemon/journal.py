"""Keeps every live completion: its order as accepted and every token received so far.

A restarted engine gets these, so a stream continues with no token lost and none repeated. Pure
data: no clock, no I/O, no engine. Owner: the daemon's event loop.
"""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from umad.errors import QueueFull
from umad.forgetting import ForgetScope
from umad.protocol.lifecycle import LifecycleEvent, LifecycleState, advance
from umad.protocol.link import Ended, Submit
from umad.request import LogitsUse
from umad.session_names import kept_name

T = TypeVar("T")

# Of all engines together. A live prompt is held twice, here and in the engine.
MAX_PROMPT_BYTES = 2**30
MAX_TOKENS = 2**31 - 1


@dataclass(slots=True, kw_only=True, eq=False)
class JournalEntry(Generic[T]):
    """One completion."""

    submit: Submit
    # The receiver of its news; the journal never looks inside.
    owner: T
    # The completion's number within its request.
    index: int
    size_bytes: int
    # As many tokens as it asked for, without those that its client brought.
    most_tokens: int = MAX_TOKENS
    # `events.tokens_head`, the part that its tokens messages have in common.
    head: bytes = b""
    state: LifecycleState = LifecycleState.QUEUED
    ids: "array[int]" = field(default_factory=lambda: array("i"))
    prompt_tokens: int = 0
    # The engine has reported on it, so it no longer waits.
    started: bool = False
    # An engine died while it ran, so the next engine's counts do not cover all of it.
    resumed: bool = False
    # When the engine first reported on it; 0 until then.
    begun_ns: int = 0
    # When its first token came; 0 until then.
    first_token_ns: int = 0

    @property
    def n_made(self) -> int:
        """The answer's tokens so far, those included that its client brought."""
        return len(self.submit.resume) + len(self.ids)

    @property
    def rid(self) -> int:
        """The completion's number, unique for the daemon's life."""
        return self.submit.rid


class Journal(Generic[T]):
    """The live completions of one engine, in order of acceptance.

    on_end: called after one of them has ended.
    """

    def __init__(self, *, on_end: Callable[[], None] | None = None) -> None:
        self._on_end = on_end
        self._entries: dict[int, JournalEntry[T]] = {}
        self.n_waiting = 0
        self.n_paused = 0
        self.prompt_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[JournalEntry[T]]:
        return iter(self._entries.values())

    def get(self, rid: int) -> JournalEntry[T] | None:
        """The live completion of that number, if there is one."""
        return self._entries.get(rid)

    def check_room(self, submit: Submit, n: int, *, others_bytes: int = 0) -> None:
        """Raise `QueueFull` where `n` more prompts of this size would be too many bytes to hold.
        others_bytes: prompts that the journals of other engines hold.
        """
        held_bytes = self.prompt_bytes + others_bytes
        if held_bytes + n * _prompt_bytes(submit) > MAX_PROMPT_BYTES:
            raise QueueFull(
                f"the prompts in flight would exceed {MAX_PROMPT_BYTES >> 20} MiB; try again later"
            )

    def add(self, submit: Submit, *, owner: T, index: int, head: bytes = b"") -> JournalEntry[T]:
        """Accept a completion."""
        size_bytes = _prompt_bytes(submit)
        entry = JournalEntry(
            submit=submit,
            owner=owner,
            index=index,
            size_bytes=size_bytes,
            most_tokens=(submit.sampling.max_tokens or MAX_TOKENS) - len(submit.resume),
            head=head,
        )
        self._entries[submit.rid] = entry
        self.n_waiting += 1
        self.prompt_bytes += size_bytes
        return entry

    def advance(self, entry: JournalEntry[T], event: LifecycleEvent) -> None:
        """Walk the table of `protocol.lifecycle`; a completion in a final state is removed."""
        before = entry.state
        after = entry.state = advance(before, event)
        self.n_paused += (after is LifecycleState.PAUSED) - (before is LifecycleState.PAUSED)
        if not entry.started and event in (LifecycleEvent.PREFILLED, LifecycleEvent.TOKENS):
            entry.started = True
            self.n_waiting -= 1
        if after in (LifecycleState.DONE, LifecycleState.FAILED):
            del self._entries[entry.rid]
            self.prompt_bytes -= entry.size_bytes
            self.n_waiting -= not entry.started
            if self._on_end is not None:
                self._on_end()

    def read_by_client(self, entry: JournalEntry[T], *, choose: bool) -> None:
        """Make a restarted engine wait until the client attaches again."""
        if choose or entry.submit.logits is None:
            use: LogitsUse = "choose" if choose else "read"
            entry.submit = replace(entry.submit, logits=use)

    def forget(self, scope: ForgetScope) -> set[str]:
        """Make the completions that `scope` covers leave nothing behind, on a restarted engine too.

        Returns the names of their sessions.
        """
        names = set[str]()
        for entry in self._entries.values():
            submit = entry.submit
            # Here a session has the name that was asked for, and no adapters behind it.
            if scope.takes(kept_name(submit.session, ""), submit.owner):
                names |= {submit.session} if submit.session is not None else set()
                entry.submit = replace(submit, session=None, leaves_nothing=True)
        return names

    def set_lane(self, entry: JournalEntry[T], lane: str) -> None:
        """Make a restarted engine run it in `lane` too."""
        entry.submit = replace(entry.submit, lane=lane)

    def ended(self, entry: JournalEntry[T]) -> Ended | None:
        """The completion's end, where nothing is left to do: all tokens are there, or it was
        cancelled.

        The engine's own report is missing when it died between the last token and the report, or
        before it could confirm a cancellation.
        """
        made = entry.n_made
        cancelled = entry.state is LifecycleState.CANCELLING
        if not cancelled and made < (entry.submit.sampling.max_tokens or made + 1):
            return None
        return Ended(
            rid=entry.rid,
            reason="cancelled" if cancelled else "length",
            prompt_tokens=entry.prompt_tokens,
            cached_tokens=0,
            completion_tokens=made,
        )

    def replay(self, entry: JournalEntry[T]) -> Submit | Ended:
        """The order for a new engine, or the completion's end where nothing is left to do."""
        return self.ended(entry) or replace(entry.submit, resume=(*entry.submit.resume, *entry.ids))

    def engine_lost(self) -> list[Ended]:
        """Make everything wait for the next engine. Returns the ends of what has nothing left to
        do.
        """
        ended = []
        for entry in list(self._entries.values()):
            end = self.ended(entry)
            if end is not None:
                ended.append(end)
            else:
                self.advance(entry, LifecycleEvent.ENGINE_LOST)
                self.n_waiting += entry.started
                entry.started = False
                entry.resumed = True
        return ended


def _prompt_bytes(submit: Submit) -> int:
    size_bytes = len(submit.prompt or "") + 8 * len(submit.prompt_ids or ())
    size_bytes += 8 * len(submit.resume)
    if submit.constraint is not None:
        size_bytes += len(submit.constraint[1])
    size_bytes += sum(len(data) for _, data, _, _ in submit.media)
    return size_bytes + len(submit.chat or "")
