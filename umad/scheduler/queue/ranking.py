"""Ranks the queues of apps by the keys of their heads, while keys rise without a word to anybody.

Every token that is served raises the key of its app, and of all apps of its owner in that lane. To
sort the line for each plan would take milliseconds with a thousand apps. So each owner has a heap
of its queues, by keys in which what the owner was served does not count, since that is the same for
all of them. The owners stand in a heap, by the key of their best head. What comes up is looked at
once more, and goes back if its key has risen. A key that falls has to be told: the queue is put in
again.

Not: when a queue is ranked anew (`waiting_line`). Owner: the step thread.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace
from typing import NamedTuple

from umad.scheduler.queue.app_queue import AppQueue
from umad.scheduler.queue.orders import Key
from umad.scheduler.scheduled_request import ScheduledRequest

# A heap is cleared of items that do not count when it has more than twice as many as it did then,
# and this many besides.
_MOST_STALE = 64

# A queue by its head's key among those of its owner. The head's number decides between equal keys,
# and the stamp tells the queue's last item from older ones.
_Ranked = tuple[Key, int, int, AppQueue]
# An owner in one lane.
_Owner = tuple[str, int]


class _RankedOwner(NamedTuple):
    """An owner by a key that is no higher than that of its best head, whose number decides between
    equal keys. Two items of the same values are two items."""

    key: Key
    rid: int
    owner: _Owner


KeyOf = Callable[[ScheduledRequest], Key]


class Ranking:
    """Queues of one lane, or those of all lanes that have aged."""

    def __init__(self, key: KeyOf, within_owner: KeyOf) -> None:
        """key: among all heads here. within_owner: among those of one owner and lane, in the same
        order."""
        self._key = key
        self._within_owner = within_owner
        self._heaps: dict[_Owner, list[_Ranked]] = {}
        self._owners: list[_RankedOwner] = []
        # The item of each owner that counts.
        self._best: dict[_Owner, _RankedOwner] = {}
        # How many items the heaps may have before they are cleared.
        self._most: dict[_Owner, int] = {}

    def put(self, queue: AppQueue, head: ScheduledRequest) -> None:
        """Rank a queue by its head. Items with other stamps of the queue's do not count."""
        heap = self._heaps.setdefault(queue.account, [])
        if len(heap) > self._most.get(queue.account, _MOST_STALE):
            heap[:] = [item for item in heap if item[2] == item[3].stamp]
            heapify(heap)
            self._most[queue.account] = 2 * len(heap) + _MOST_STALE
        heappush(heap, (self._within_owner(head), head.rid, queue.stamp, queue))
        if heap[0][3] is queue:
            self._put_owner(queue.account, head)

    def pop(self, now_ns: int) -> tuple[AppQueue, ScheduledRequest | None] | None:
        """Take out the next queue, with its head; without one where it is to be ranked anew. None
        where no queue is left."""
        while self._owners:
            item = self._owners[0]
            owner = item[2]
            heap = self._heaps.get(owner)
            if not heap or self._best.get(owner) is not item:
                heappop(self._owners)
                if not heap and self._best.get(owner) is item:
                    self._forget(owner)
                continue
            within, _, stamp, queue = heap[0]
            if stamp != queue.stamp:
                heappop(heap)
                continue
            head = queue.first(now_ns)
            if head is None or head is not queue.head or self._within_owner(head) != within:
                heappop(heap)
                return queue, None
            key = self._key(head)
            if key != item[0]:
                self._best[owner] = risen = _RankedOwner(key, head.rid, owner)
                heapreplace(self._owners, risen)
                continue
            # The owner's item stays: its next head has no lower key.
            heappop(heap)
            return queue, head
        return None

    def _put_owner(self, owner: _Owner, head: ScheduledRequest) -> None:
        if len(self._owners) > 2 * len(self._best) + _MOST_STALE:
            self._owners = [item for item in self._owners if self._best.get(item[2]) is item]
            heapify(self._owners)
        self._best[owner] = item = _RankedOwner(self._key(head), head.rid, owner)
        heappush(self._owners, item)

    def _forget(self, owner: _Owner) -> None:
        self._heaps.pop(owner, None)
        self._best.pop(owner, None)
        self._most.pop(owner, None)
