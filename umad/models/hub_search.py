"""Searches the Hugging Face hub for GGUF repositories.

huggingface_hub is imported when it is asked: the daemon and every help text do without.
`HF_ENDPOINT`, tokens and `HF_HUB_OFFLINE` are the library's. Not: fetching, nor the catalogue's own
search (`umad.models.catalogue`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from umad.errors import FetchFailed
from umad.version import __version__

_LICENCE = "license:"
_TIMEOUT_S = 15.0
# Of the hub's own interface: https://huggingface.co/docs/hub/api
_WANTED = {
    "filter": "gguf",
    "sort": "downloads",
    "expand": ["downloads", "likes", "gated", "tags", "gguf"],
}


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
    import httpx2  # noqa: PLC0415
    from huggingface_hub import (  # noqa: PLC0415  (a second to import)
        constants,
        get_session,
        get_token,
        hf_raise_for_status,
    )
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled  # noqa: PLC0415

    # Not the client's own headers: they tell the hub which agent it finds in the environment.
    headers = {"User-Agent": f"umad/{__version__}"}
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    endpoint = constants.ENDPOINT
    try:
        # Not `HfApi.list_models`: where there is no network it tries for half a minute.
        answer = get_session().get(
            f"{endpoint}/api/models",
            params={"search": words, "limit": limit, **_WANTED},
            headers=headers,
            timeout=_TIMEOUT_S,
        )
        hf_raise_for_status(answer)
        return tuple(_rows(answer.json()))
    except OfflineModeIsEnabled:
        raise FetchFailed(
            "HF_HUB_OFFLINE forbids to ask the hub: unset it, and search again"
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise FetchFailed(f"{endpoint} refuses the search with status {status}") from None
    except httpx2.TimeoutException:
        raise FetchFailed(f"{endpoint} did not answer within {_TIMEOUT_S:.0f} s") from None
    except httpx2.TransportError as error:
        raise FetchFailed(f"{endpoint} cannot be reached ({error}): is there a network?") from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise FetchFailed(
            f"{endpoint} does not answer as a hub does; look at HF_ENDPOINT"
        ) from error


def _rows(found: Any) -> Iterator[HubRepository]:
    for one in found:
        gguf = one.get("gguf") or {}
        tags = one.get("tags") or ()
        licences = [tag.removeprefix(_LICENCE) for tag in tags if tag.startswith(_LICENCE)]
        yield HubRepository(
            name=str(one["id"]),
            downloads=int(one.get("downloads") or 0),
            likes=int(one.get("likes") or 0),
            licence=licences[0] if licences else "",
            is_gated=bool(one.get("gated")),
            n_params=_figure(gguf.get("total")),
            architecture=str(gguf.get("architecture") or ""),
            context_tokens=_figure(gguf.get("context_length")),
        )


def _figure(value: object) -> int | None:
    return value if isinstance(value, int) else None
