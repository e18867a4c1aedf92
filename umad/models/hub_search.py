"""Searches the Hugging Face hub for GGUF repositories.

The only module here that imports huggingface_hub besides `umad.models.fetching`, and only when it
is asked: the daemon and every help text do without. `HF_ENDPOINT`, tokens and `HF_HUB_OFFLINE` are
the library's. Not: fetching, nor the catalogue's own search (`umad.models.catalogue`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from umad.errors import FetchFailed

_LICENCE = "license:"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRepository:
    """One repository that was found."""

    # "org/repo"
    name: str
    downloads: int
    likes: int
    licence: str
    # Whether its maker asks for a consent before a download.
    is_gated: bool
    # Of the GGUF that the hub has looked into; None where it has not.
    n_params: int | None
    architecture: str
    context_tokens: int | None


def search_hub(words: str, *, limit: int) -> Sequence[HubRepository]:
    """GGUF repositories for some words, those that are fetched most often first. Blocks for some
    seconds at most. Raises `FetchFailed`.
    """
    from huggingface_hub import HfApi, constants  # noqa: PLC0415  (a second to import)
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled  # noqa: PLC0415

    endpoint = constants.ENDPOINT
    try:
        found = HfApi().list_models(
            search=words,
            filter="gguf",
            sort="downloads",
            limit=limit,
            expand=["downloads", "likes", "gated", "tags", "gguf"],
        )
        return tuple(_rows(found))
    except OfflineModeIsEnabled:
        raise FetchFailed(
            "HF_HUB_OFFLINE forbids to ask the hub: unset it, and search again"
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no"
        raise FetchFailed(f"{endpoint} refuses the search with status {status}") from None
    except (OSError, _transport_error()) as error:
        raise FetchFailed(
            f"{endpoint} cannot be reached: {type(error).__name__}; is there a network?"
        ) from None


def _transport_error() -> type[Exception]:
    """What huggingface_hub's HTTP library raises where no answer comes."""
    import httpx2  # noqa: PLC0415

    kind: type[Exception] = httpx2.TransportError
    return kind


def _rows(found: Any) -> Iterator[HubRepository]:
    for one in found:
        gguf = getattr(one, "gguf", None) or {}
        tags = one.tags or ()
        yield HubRepository(
            name=one.id,
            downloads=one.downloads or 0,
            likes=one.likes or 0,
            licence=next((t.removeprefix(_LICENCE) for t in tags if t.startswith(_LICENCE)), ""),
            is_gated=bool(getattr(one, "gated", False)),
            n_params=gguf.get("total"),
            architecture=gguf.get("architecture") or "",
            context_tokens=gguf.get("context_length"),
        )
