"""Texts of single tokens, for lists of logprobs: asked of the daemon once each.

Bounded per model; a model's vocabulary does not change. One event loop.
"""

import asyncio
from collections.abc import Iterable

from umad.service import Service

MAX_TEXTS = 300_000  # the largest vocabularies


class TokenTexts:
    """A memory of `Service.detokenize` for one token at a time."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._texts: dict[tuple[str, int], str] = {}

    async def of(self, model: str, ids: Iterable[int]) -> dict[int, str]:
        """The text of each of `ids`; part of a character is U+FFFD."""
        wanted = set(ids)
        missing = [one for one in wanted if (model, one) not in self._texts]
        if len(self._texts) + len(missing) > MAX_TEXTS:
            self._texts.clear()
            missing = list(wanted)
        found = await asyncio.gather(
            *(self._service.detokenize((one,), model=model) for one in missing)
        )
        self._texts.update(((model, one), text) for one, text in zip(missing, found, strict=True))
        return {one: self._texts[model, one] for one in wanted}
