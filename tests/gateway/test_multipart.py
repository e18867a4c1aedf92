"""Forms with a file, as programs send them and as nobody should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.errors import BadRequest
from umad.gateway.bodies.multipart import read_form
from umad.gateway.bodies.openai_audio import read_audio_form

KIND = "multipart/form-data; boundary=xyz"


def part(name: str, data: bytes, *, file: bool = False) -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"'
    head += '; filename="a.wav"\r\nContent-Type: audio/wav' if file else ""
    return b"--xyz\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--xyz--\r\n"


@given(data=st.binary(max_size=300), text=st.text(max_size=50))
def test_a_file_and_a_text_come_out_as_they_went_in(data: bytes, text: str) -> None:
    if b"--xyz" in data or "--xyz" in text:
        return
    body = form(part("model", text.encode()), part("file", data, file=True))

    read = read_form(KIND, body, file="file")

    assert read.file == data
    assert read.fields == {"model": [text]}


def test_a_field_that_comes_several_times_has_all_its_values() -> None:
    body = form(
        part("timestamp_granularities[]", b"word"),
        part("timestamp_granularities[]", b"segment"),
        part("response_format", b"verbose_json"),
        part("file", b"data", file=True),
    )

    read = read_audio_form('multipart/form-data; boundary="xyz"', body)

    assert read.granularities == {"word", "segment"}
    assert read.file == b"data"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", form(part("file", b"a", file=True))),
        (KIND, b""),
        (KIND, b"--xyz"),
        (KIND, part("file", b"a", file=True)),
        (KIND, b"--xyz\r\nContent-Type: a/b\r\n\r\nx\r\n--xyz--"),
        (KIND, b"--xyz\r\n" + b"A" * 5000 + b"\r\n\r\nx\r\n--xyz--"),
        (KIND, form(*[part("a", b"b")] * 70)),
        (KIND, form(part("model", b"a" * 70_000), part("file", b"a", file=True))),
        (KIND, form(part("file", b"a", file=True), part("file", b"a", file=True))),
        (KIND, form(part("image", b"a", file=True))),
    ],
)
def test_what_is_no_such_form_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_form(kind, body, file="file")


@pytest.mark.parametrize(
    ("field", "parts"),
    [
        ("file", ()),
        ("file", (part("file", b"", file=True),)),
        ("response_format", (part("response_format", b"xml"),)),
        ("temperature", (part("temperature", b"2"),)),
        ("temperature", (part("temperature", b"nan"),)),
        ("stream", (part("stream", b"maybe"),)),
        ("stream", (part("stream", b"true"), part("response_format", b"srt"))),
        ("timestamp_granularities", (part("timestamp_granularities[]", b"word"),)),
        ("model", (part("model", b"a"), part("model", b"b"))),
    ],
)
def test_a_field_with_an_impossible_value_is_named(field: str, parts: tuple[bytes, ...]) -> None:
    file = () if field == "file" else (part("file", b"data", file=True),)

    with pytest.raises(BadRequest) as refused:
        read_audio_form(KIND, form(*file, *parts))

    assert refused.value.field == field
