"""Images as dialects write them: what is right becomes bytes, what is wrong has its fault."""

from typing import Any

import pytest

from umad.content import PlacedFile
from umad.conversation import ChatMessage
from umad.errors import BadMedia
from umad.gateway.written_files import from_base64, from_url, kind_of_url, settled_turns


@pytest.mark.parametrize(
    "written", ["+/+/aQ==", "+/+/aQ", "-_-_aQ", "+/+/\n aQ==", "data:image/png;base64,+/+/aQ=="]
)
def test_base64_is_read_in_the_forms_that_clients_write(written: str) -> None:
    file = from_base64("image", written, "here")

    assert (file.data, file.fault) == (b"\xfb\xff\xbfi", "")


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("https://example.com/cat.png", "no addresses"),
        ("HTTP://127.0.0.1/", "no addresses"),
        ("ftp://example.com/cat.png", "a data: URL"),
        ("file:///etc/passwd", "a data: URL"),
        ("/etc/passwd", "a data: URL"),
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,*", "not base64"),
        (None, "missing"),
        ({"url": "x"}, "missing"),
    ],
)
def test_an_address_that_is_not_the_file_itself_is_at_fault(url: Any, fault: str) -> None:
    file = from_url("image", url, "here")

    assert fault in file.fault
    assert file.data == b""


def test_a_data_url_without_base64_has_its_bytes_escaped() -> None:
    assert from_url("image", "data:image/svg+xml,%3Csvg%2F%3E", "here").data == b"<svg/>"


def test_the_kind_of_a_file_is_what_its_url_says() -> None:
    kinds = [kind_of_url(f"data:{one};base64,aa") for one in ("image/png", "audio/wav", "text/x")]

    assert kinds == ["image", "audio", None]
    assert kind_of_url(None) is None


def test_a_fault_is_told_where_it_is_asked_about_and_passed_over_in_a_history() -> None:
    wrong = PlacedFile(at=0, file=from_url("image", "https://example.com/", "messages.0"))
    turn = ChatMessage(role="user", content="", media=(wrong,))
    later = ChatMessage(role="user", content="And now?")

    with pytest.raises(BadMedia, match="no addresses") as caught:
        settled_turns((turn,))

    assert caught.value.field == "messages.0"
    assert [one.file.data for one in settled_turns((turn, later))[0].media] == [b""]
