"""Caches the bytes of single tokens for lists of log-probabilities: each is asked for once.

The cache has a limit per model; a model's vocabulary does not change. Owner: one event loop.
"""

from collections.abc import Iterable

from umad.service import Service

MAX_TOKENS = 300_000  # the largest vocabularies


def shown(piece: bytes) -> str:
    """A token as text; bytes that are only part of a character become U+FFFD."""
    return piece.decode("utf-8", "replace")


class TokenBytes:
    """Remembers the answers of `Service.pieces`."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._pieces: dict[tuple[str, int], bytes] = {}

    async def of(self, model: str, ids: Iterable[int]) -> dict[int, bytes]:
        """The bytes of each of `ids`; one token's bytes may be part of a character."""
        wanted = set(ids)
        missing = [one for one in wanted if (model, one) not in self._pieces]
        if len(self._pieces) + len(missing) > MAX_TOKENS:
            self._pieces.clear()
            missing = list(wanted)
        if missing:
            found = await self._service.pieces(tuple(missing), model=model)
            self._pieces.update(
                ((model, one), piece) for one, piece in zip(missing, found, strict=True)
            )
        return {one: self._pieces[model, one] for one in wanted}
