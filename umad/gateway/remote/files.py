"""Puts the images and sounds that were fetched into a request, in the place of their addresses.

What cannot be fetched stays a file with a fault, which is refused where it is asked about now, and
becomes words in a history (`umad.gateway.written_files`). Owner: the gateway's event loop.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from umad.config import MediaSettings
from umad.content import MediaFile, MediaKind, PlacedFile
from umad.errors import BadRequest
from umad.gateway.remote.fetching import Budget, Fetcher, Unfetchable
from umad.gateway.remote.kept import KeptFiles
from umad.gateway.written_files import WrittenFile
from umad.request import GenerateRequest

# Servers that are asked at once, for everybody and for one owner. Whoever names slow servers waits
# for them, and others do not.
MOST_AT_ONCE = 16
MOST_OF_OWNER = 4

_Wanted = tuple[MediaKind, str]


@dataclass(slots=True, kw_only=True, eq=False)
class _Share:
    """The places of one owner, and how many of its requests use them."""

    places: asyncio.Semaphore
    requests: int = 0


class RemoteFiles:
    """Fetches files for requests, where the settings allow it."""

    def __init__(self, settings: MediaSettings, *, fetcher: Fetcher | None = None) -> None:
        self._settings = settings
        self._fetcher = fetcher or Fetcher(settings)
        self._kept = KeptFiles()
        self._at_once = asyncio.Semaphore(MOST_AT_ONCE)
        # Of owners with a request that waits for files.
        self._shares: dict[str, _Share] = {}

    def wants(self, request: GenerateRequest) -> bool:
        """Whether there is something to fetch."""
        return self._settings.remote_urls and any(_address(one) for one in request.placed)

    async def filled(
        self,
        request: GenerateRequest,
        *,
        owner: str,
        kinds: Collection[str] | None,
        hold: Callable[[int], None],
    ) -> GenerateRequest:
        """`request` with its files. owner: whose they are. kinds: those that the model takes; the
        rest is not fetched, because the engine refuses it. None: they are not known. hold: is told
        of bytes that came, and raises where there is no room for them. Raises `BadRequest` for more
        addresses than a request may have.
        """
        wanted = list(
            dict.fromkeys(
                (one.file.kind, address) for one in request.placed if (address := _address(one))
            )
        )
        if len(wanted) > self._settings.files:
            raise BadRequest(
                f"the request has {len(wanted)} addresses of files, at most "
                f"{self._settings.files} are taken (media.files)"
            )
        asked = [one for one in wanted if kinds is None or one[0] in kinds]
        found: dict[_Wanted, bytes | str] = dict.fromkeys(wanted, b"")
        budget = Budget(self._settings.remote_bytes, hold)
        ends_s = asyncio.get_running_loop().time() + self._settings.remote_s
        with self._share(owner) as own:
            came = await asyncio.gather(
                *(self._one(one, owner, budget, own, ends_s) for one in asked),
                return_exceptions=True,
            )
        for one, outcome in zip(asked, came, strict=True):
            if isinstance(outcome, BaseException):
                raise outcome
            found[one] = outcome
        messages = request.messages
        if messages is None:
            return replace(request, media=_with(request.media, found))
        turns = tuple(replace(turn, media=_with(turn.media, found)) for turn in messages)
        return replace(request, messages=turns)

    @contextmanager
    def _share(self, owner: str) -> Iterator[asyncio.Semaphore]:
        """The places that all requests of an owner have together."""
        share = self._shares.setdefault(owner, _Share(places=asyncio.Semaphore(MOST_OF_OWNER)))
        share.requests += 1
        try:
            yield share.places
        finally:
            share.requests -= 1
            if not share.requests:
                del self._shares[owner]

    async def _one(
        self, wanted: _Wanted, owner: str, budget: Budget, own: asyncio.Semaphore, ends_s: float
    ) -> bytes | str:
        """A file, or in words why it is not there."""
        kind, address = wanted
        now_s = asyncio.get_running_loop().time
        key = owner, address
        # What is at hand waits for nobody's servers.
        if (kept := self._kept.get(key, now_s())) is not None:
            return kept
        try:
            async with asyncio.timeout_at(ends_s), own, self._at_once:
                data = await self._fetcher.fetch(kind, address, budget)
                self._kept.put(key, data, now_s())
                return data
        except Unfetchable as error:
            return str(error)
        except TimeoutError:
            return f"fetching took longer than {self._settings.remote_s:g} s (media.remote_s)"

    async def close(self) -> None:
        """End all connections."""
        await self._fetcher.close()


def _address(one: PlacedFile) -> str:
    return one.file.address if isinstance(one.file, WrittenFile) else ""


def _with(
    media: tuple[PlacedFile, ...], found: Mapping[_Wanted, bytes | str]
) -> tuple[PlacedFile, ...]:
    return tuple(replace(one, file=_of(one.file, found)) for one in media)


def _of(file: MediaFile, found: Mapping[_Wanted, bytes | str]) -> MediaFile:
    if not isinstance(file, WrittenFile) or not file.address:
        return file
    came = found[(file.kind, file.address)]
    if isinstance(came, str):
        return replace(file, fault=f"{came}; send the file itself, as a data: URL or in base64")
    return MediaFile(kind=file.kind, data=came, place=file.place)
