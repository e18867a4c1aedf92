"""Keeps what was fetched lately: a client sends its whole history with every request.

Each owner's files are the owner's own, so that nobody finds out what others have asked about. A
file is fetched anew after a while. Pure. Owner: the gateway's event loop.
"""

from collections import OrderedDict

# Pictures of some chats. They are small beside the models.
KEPT_BYTES = 64 * 2**20
# What a file takes besides its bytes and its address. A server may send any number of empty ones.
_EACH_BYTES = 1024
KEPT_S = 600.0

Key = tuple[str, str]


class KeptFiles:
    """Files by owner and address, the one that was used longest ago first."""

    def __init__(self, most_bytes: int = KEPT_BYTES, within_s: float = KEPT_S) -> None:
        self._most_bytes = most_bytes
        self._within_s = within_s
        self._files: OrderedDict[Key, tuple[bytes, float]] = OrderedDict()
        self.n_bytes = 0

    def get(self, key: Key, now_s: float) -> bytes | None:
        """The file, unless it is gone or too old."""
        kept = self._files.get(key)
        if kept is None:
            return None
        data, fetched_s = kept
        if now_s - fetched_s > self._within_s:
            self._drop(key)
            return None
        self._files.move_to_end(key)
        return data

    def put(self, key: Key, data: bytes, now_s: float) -> None:
        """Keep a file that was fetched now."""
        self._drop(key)
        self._files[key] = data, now_s
        self.n_bytes += _size_bytes(key, data)
        while self.n_bytes > self._most_bytes:
            self._drop(next(iter(self._files)))

    def _drop(self, key: Key) -> None:
        dropped = self._files.pop(key, None)
        if dropped is not None:
            self.n_bytes -= _size_bytes(key, dropped[0])


def _size_bytes(key: Key, data: bytes) -> int:
    return len(data) + sum(map(len, key)) + _EACH_BYTES
