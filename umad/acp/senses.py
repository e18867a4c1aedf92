"""Finds out what the model of a session sees and hears, for what the editor lets its user send.

A model that is not loaded yet has not told it. Then everything is announced: an editor that was
told no once takes no image for as long as it runs, and a model without eyes says so clearly.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from umad.client import AsyncClient
from umad.content import MEDIA_KINDS
from umad.errors import UmadError
from umad.model_names import KnownModel, resolve

# An editor starts agents one after another and waits for each.
_WITHIN_S = 2.0


async def senses_of(client: AsyncClient, model: str | None) -> frozenset[str]:
    """The kinds of files that a model takes, as far as that is known. model: as a person writes it;
    None for the daemon's first.
    """
    try:
        async with asyncio.timeout(_WITHIN_S):
            rows = {str(row["name"]): row for row in await client.models()}
    except (UmadError, TimeoutError):
        rows = {}
    row = _meant(model, rows)
    # A row has its model's architecture once the model has told its facts.
    if row is None or "architecture" not in row:
        return frozenset(MEDIA_KINDS)
    return frozenset(row.get("media") or ())


def _meant(model: str | None, rows: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if not model:
        return next(iter(rows.values()), None)
    found = resolve(model, [KnownModel.of_row(row) for row in rows.values()])
    return None if found is None else rows[found.name]
