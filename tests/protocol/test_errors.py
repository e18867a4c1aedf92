import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import umad
from umad import errors
from umad.errors import InternalError, UmadError
from umad.protocol.errors import UNEXPECTED, ForeignError, error_of, error_of_failed, failed_of
from umad.state_table import ImpossibleTransition


def family(kind: type[UmadError]) -> Iterator[type[UmadError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


KINDS = sorted(
    {kind for kind in family(UmadError) if kind is not ForeignError}, key=lambda kind: kind.__name__
)
OWN_CODE = [kind for kind in KINDS if "code" in vars(kind) and kind is not UmadError]


@pytest.mark.parametrize("kind", OWN_CODE)
def test_an_error_crosses_the_wire_as_what_it_is(kind: type[UmadError]) -> None:
    error = kind("what to do next", field="some.field")

    crossed = error_of_failed(failed_of(error))

    assert type(crossed) is kind
    assert (crossed.code, crossed.message, crossed.field, crossed.retryable) == (
        error.code,
        "what to do next",
        "some.field",
        error.retryable,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_there_is_can_be_told_to_a_client(kind: type[UmadError]) -> None:
    failed = failed_of(kind("what to do next"))

    assert failed.code == kind.code
    assert isinstance(error_of_failed(failed), UmadError)
    assert error_of_failed(failed).code == kind.code


def test_no_two_errors_share_a_code() -> None:
    codes = [kind.code for kind in OWN_CODE]

    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("kind", [UmadError, InternalError, ImpossibleTransition])
def test_the_detail_of_an_unexpected_error_stays_off_the_wire(kind: type[UmadError]) -> None:
    failed = failed_of(kind("/home/ada/secret.py line 7"))

    assert failed.code == "internal"
    assert failed.message == UNEXPECTED
    assert type(error_of_failed(failed)) is InternalError


def test_a_code_of_a_later_version_keeps_all_it_says() -> None:
    error = error_of("out_of_cheese", "redo from start", "cheese", True)

    assert isinstance(error, ForeignError)
    assert (error.code, error.message, error.field, error.retryable) == (
        "out_of_cheese",
        "redo from start",
        "cheese",
        True,
    )
    assert failed_of(error).code == "out_of_cheese"


def test_errors_outside_the_tree_of_umad_errors_bring_no_code_of_their_own() -> None:
    """A client could not turn it into the exception again."""
    for module in pkgutil.walk_packages(umad.__path__, "umad."):
        if module.name.split(".")[1] in ("protocol", "client", "scheduler", "daemon"):
            importlib.import_module(module.name)

    strangers = [kind for kind in family(UmadError) if kind.__module__ != errors.__name__]

    assert [kind for kind in strangers if "code" in vars(kind)] == []
