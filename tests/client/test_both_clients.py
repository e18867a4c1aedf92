"""The two clients are one: same methods, same arguments, same answers, same words."""

import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import GenericAlias
from typing import Any, get_args, get_origin

import pytest

from umad.client import AsyncClient, Client

# A loop's own: tokens are offered on it before they wake anybody.
ONLY_ASYNC = {"events": {"take"}}


def methods(client: type) -> dict[str, Callable[..., Any]]:
    return {
        name: value
        for name, value in vars(client).items()
        if callable(value) and (not name.startswith("_") or name == "__init__")
    }


def without_await(kind: Any) -> Any:
    """What a blocking method returns where an asynchronous one returns `kind`."""
    if get_origin(kind) is AsyncGenerator:
        return GenericAlias(Generator, (get_args(kind)[0], None, None))
    if get_origin(kind) is Coroutine:
        return get_args(kind)[-1]
    return kind


def test_both_have_the_same_methods() -> None:
    assert list(methods(Client)) == list(methods(AsyncClient))


@pytest.mark.parametrize("name", methods(AsyncClient))
def test_a_method_takes_and_returns_the_same_in_both(name: str) -> None:
    blocking = inspect.signature(methods(Client)[name])
    waiting = inspect.signature(methods(AsyncClient)[name])

    kept = [
        one for one in waiting.parameters.values() if one.name not in ONLY_ASYNC.get(name, set())
    ]
    assert list(blocking.parameters.values()) == kept
    assert blocking.return_annotation == without_await(waiting.return_annotation)


@pytest.mark.parametrize("name", sorted(set(methods(AsyncClient)) - {"__init__"}))
def test_a_method_is_explained_in_the_same_words_in_both(name: str) -> None:
    explained = inspect.getdoc(methods(Client)[name])

    first = (inspect.getdoc(methods(AsyncClient)[name]) or "").partition("\n\n")[0]
    assert explained
    assert explained.partition("\n\n")[0] == first


def test_a_method_has_its_own_name_and_its_client_s() -> None:
    assert Client.chat.__qualname__ == "Client.chat"
    assert AsyncClient.chat.__qualname__ == "AsyncClient.chat"
    assert inspect.iscoroutinefunction(AsyncClient.chat)
    assert not inspect.iscoroutinefunction(Client.chat)
    assert "model: str | None = None" in str(inspect.signature(Client.tokenize))
