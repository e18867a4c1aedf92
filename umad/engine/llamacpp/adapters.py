"""Keeps LoRA adapters in memory for the requests that use them (`AdapterShelf`).

An adapter is read when the first request that names it begins, and stays when the request ends,
until its memory is needed: the one that was used longest ago is freed first. What live requests
use is never freed.
Owner: the step thread; `misfit` may be asked by any.
"""

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from umad.engine.adapters.adapter_set import AdapterFile, AdapterSet, identity_of
from umad.engine.llamacpp.adapter_calls import AdapterCalls
from umad.errors import BadRequest, InternalError, QueueFull
from umad.models.adapters import misfit
from umad.models.gguf import GgufHeader

log = logging.getLogger("umad.engine")

_BYTES_PER_MB = 1e6
# llama.cpp's graphs have room for the nodes of every adapter of a model, so each loaded one costs
# some kilobytes more whenever sets change. It is a bound against a bug; `capacity_bytes` comes
# first.
_MOST_LOADED = 64


@dataclass(slots=True)
class _Loaded:
    handle: Any
    size_bytes: int
    # The live requests that use it.
    users: set[int] = field(default_factory=set)


class LlamaAdapters:
    """The adapters of one model. header: of all its parts together."""

    def __init__(self, calls: AdapterCalls, header: GgufHeader, *, capacity_bytes: int) -> None:
        self._calls = calls
        self._header = header
        self.capacity_bytes = capacity_bytes
        # By digest; used longest ago first.
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._held: dict[int, AdapterSet] = {}
        # The sets of live requests by key, and how many requests have each.
        self._sets: dict[str, AdapterSet] = {}
        self._n_users: dict[str, int] = {}
        # The set that is on the context: its key, and its digests.
        self.on = ""
        self._digests: frozenset[str] = frozenset()

    @property
    def used_bytes(self) -> int:
        """What the adapters in memory take."""
        return sum(one.size_bytes for one in self._loaded.values())

    def misfit(self, adapter: GgufHeader) -> str:
        """Why an adapter cannot be used with this model; empty where it can."""
        return misfit(adapter, self._header)

    def take(self, rid: int, adapters: AdapterSet | None) -> None:
        """Have a request's set in memory until `leave`."""
        if adapters is None:
            return
        for file, _ in adapters.parts:
            known = self._loaded.get(file.digest)
            if known is not None:
                # Hold it, so that it is not freed for another adapter of the same set.
                known.users.add(rid)
                self._loaded.move_to_end(file.digest)
        try:
            for file, _ in adapters.parts:
                if file.digest not in self._loaded:
                    self._load(file)
                    self._loaded[file.digest].users.add(rid)
        except (BadRequest, QueueFull):
            self._let_go(rid)
            raise
        self._held[rid] = adapters
        self._sets[adapters.key] = adapters
        self._n_users[adapters.key] = self._n_users.get(adapters.key, 0) + 1

    def leave(self, rid: int) -> None:
        """A request has ended."""
        adapters = self._held.pop(rid, None)
        if adapters is None:
            return
        self._let_go(rid)
        self._n_users[adapters.key] -= 1
        if not self._n_users[adapters.key]:
            del self._n_users[adapters.key], self._sets[adapters.key]

    def apply(self, key: str) -> None:
        """Compute the next steps under the set of that key; "" for none."""
        if not key:
            self._take_off()
            return
        adapters = self._sets.get(key)
        if adapters is None:
            raise InternalError("a step has adapters that no live request holds")
        handles = [(self._loaded[file.digest].handle, scale) for file, scale in adapters.parts]
        self._calls.put_on(handles)
        self.on = key
        self._digests = frozenset(file.digest for file, _ in adapters.parts)

    def spare(self) -> None:
        """The machine is short of memory: free what no live request uses."""
        for digest in [one for one, known in self._loaded.items() if not known.users]:
            self._free(digest)

    def _let_go(self, rid: int) -> None:
        for one in self._loaded.values():
            one.users.discard(rid)

    def _load(self, file: AdapterFile) -> None:
        self._make_room(file)
        handle = None
        try:
            handle = self._calls.load(file.path)
            changed = identity_of(file.path) != file.identity
        except OSError as error:
            if handle is not None:  # it was removed just now
                self._calls.free(handle)
            raise _unusable(file, f"llama.cpp refuses it ({error})") from None
        if changed:
            # What is kept of its requests would be kept under the digest of other weights.
            self._calls.free(handle)
            raise _unusable(file, "its file was written while it was read; ask again")
        self._loaded[file.digest] = _Loaded(handle, file.size_bytes)
        log.info("adapter loaded path=%s bytes=%d", file.path, file.size_bytes)

    def _make_room(self, file: AdapterFile) -> None:
        """Free the adapters that were used longest ago until one more fits."""
        while (
            self.used_bytes + file.size_bytes > self.capacity_bytes
            or len(self._loaded) >= _MOST_LOADED
        ):
            digest = next((one for one, known in self._loaded.items() if not known.users), None)
            if digest is None:
                raise QueueFull(
                    f"the adapters of running requests take {self.used_bytes / _BYTES_PER_MB:.0f} "
                    f"of {self.capacity_bytes / _BYTES_PER_MB:.0f} MB (adapter_bytes), and "
                    f"{file.name!r} does not fit beside them; try again later"
                )
            self._free(digest)

    def _free(self, digest: str) -> None:
        if digest in self._digests:
            self._take_off()
        self._calls.free(self._loaded.pop(digest).handle)

    def _take_off(self) -> None:
        self._calls.put_on(())
        self.on, self._digests = "", frozenset()


def _unusable(file: AdapterFile, why: str) -> BadRequest:
    return BadRequest(f"the adapter {file.name!r} cannot be used: {why}", field="model")
