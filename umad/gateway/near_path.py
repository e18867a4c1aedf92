"""Finds the path that a client meant by one at which nothing is served.

Base addresses are written with a slash too many (`//v1/models`), without `/v1`, or with it twice
(`/v1/v1/models`); paths with a slash at the end, in capitals, or with a slip of the pen. The answer
is only a hint in the text of a 404: nothing is served under another path than its own, because
caches, proxies and rules of access go by paths. Pure.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_ALIKE = 0.8
_NEARLY_THE_SAME = 0.95
_MOST_SEGMENTS = 16
_QUOTED_CHARS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPath:
    """A path that is served, as routes write it, and its methods."""

    path: str
    methods: tuple[str, ...]


def served_paths(routes: Iterable[tuple[str, str]]) -> tuple[ServedPath, ...]:
    """The paths of (method, path) pairs, in their order."""
    found: dict[str, list[str]] = {}
    for method, path in routes:
        found.setdefault(path, []).append(method)
    return tuple(ServedPath(path=path, methods=tuple(some)) for path, some in found.items())


def near_path(method: str, path: str, served: Sequence[ServedPath]) -> str | None:
    """The method and path that were meant, such as `GET /v1/models`; None where nothing is near."""
    asked = _segments(path)
    if not asked or len(asked) > _MOST_SEGMENTS:
        return None
    best: tuple[int, int, int] | None = None
    meant: tuple[str, tuple[str, ...]] | None = None
    for at, one in enumerate(served):
        fit = _fit(asked, _segments(one.path))
        if fit is not None:
            dropped, whole = fit
            rank = (dropped, method not in one.methods, at)
            if best is None or rank < best:
                best, meant = rank, (whole, one.methods)
    # A letter too few is a likelier slip than two segments too many.
    if best is None or best[0] > 1:
        texts = {one.path: one.methods for one in served if "{" not in one.path}
        least = _ALIKE if best is None else _NEARLY_THE_SAME
        alike = difflib.get_close_matches(f"/{'/'.join(asked)}".lower(), texts, 1, least)
        if alike:
            meant = alike[0], texts[alike[0]]
    if meant is None:
        return None
    whole, methods = meant
    return f"{method if method in methods else methods[0]} {whole[:_QUOTED_CHARS]}"


def _segments(path: str) -> list[str]:
    return [one for one in path.split("/") if one]


def _fit(asked: Sequence[str], route: Sequence[str]) -> tuple[int, str] | None:
    """How many segments have to go from the fronts of both for the rest to be the same, and the
    route's whole path with the client's own words in it. None where nothing is left.
    """
    for dropped in range(len(asked) + len(route) - 1):
        for of_asked in range(min(dropped, len(asked) - 1) + 1):
            of_route = dropped - of_asked
            if of_route >= len(route) or any("{" in one for one in route[:of_route]):
                continue
            rest = _filled(asked[of_asked:], route[of_route:])
            if rest is not None:
                return dropped, "/" + "/".join([*route[:of_route], *rest])
    return None


def _filled(asked: Sequence[str], route: Sequence[str]) -> list[str] | None:
    """`route` with the words of `asked` in its holes; None where they differ elsewhere."""
    if "{" in route[0]:
        return None  # a hole takes every word, so nothing would be known of the rest
    filled: list[str] = []
    for at, part in enumerate(route):
        if part.endswith(":path}"):
            return [*filled, *asked[at:]] if asked[at:] else None
        if at >= len(asked):
            return None
        if part.startswith("{"):
            filled.append(asked[at])
        elif asked[at].lower() == part.lower():
            filled.append(part)
        else:
            return None
    return filled if len(asked) == len(route) else None
