import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umad.errors import FrameTooLarge
from umad.protocol.frames import FrameReader, encode_frame

LIMIT_BYTES = 300


def chunked(stream: bytes, cuts: list[int]) -> list[bytes]:
    """`stream` in pieces that end at `cuts`, taken modulo its length."""
    ends = sorted({cut % (len(stream) + 1) for cut in cuts} | {len(stream)})
    return [stream[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.binary(max_size=LIMIT_BYTES), max_size=8),
    st.lists(st.integers(0, 2000), max_size=20),
)
def test_any_chunking_gives_the_same_bodies(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(encode_frame, bodies))
    reader = FrameReader(LIMIT_BYTES)

    read = [body for chunk in chunked(stream, cuts) for body in reader.feed(chunk)]

    assert read == bodies
    assert not reader.has_partial
    assert reader.buffered_bytes == 0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.binary(max_size=LIMIT_BYTES), max_size=8),
    st.lists(st.integers(0, 2000), max_size=20),
)
def test_a_frame_that_comes_alone_may_be_taken_as_it_is(
    bodies: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(map(encode_frame, bodies))
    reader = FrameReader(LIMIT_BYTES)

    read: list[bytes] = []
    for chunk in chunked(stream, cuts):
        body = reader.only(chunk)
        read += reader.feed(chunk) if body is None else [body]

    assert read == bodies
    assert not reader.has_partial


def test_a_frame_over_the_limit_is_never_taken_as_it_is() -> None:
    assert FrameReader(4).only(encode_frame(b"abcd")) == b"abcd"
    assert FrameReader(3).only(encode_frame(b"abcd")) is None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=4), st.data())
def test_a_cut_stream_owes_exactly_the_frame_that_was_cut(
    bodies: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(map(encode_frame, bodies))
    cut = data.draw(st.integers(0, len(stream) - 1))
    reader = FrameReader(LIMIT_BYTES)

    whole = list(reader.feed(stream[:cut]))

    assert whole == bodies[: len(whole)]
    assert reader.buffered_bytes == cut - sum(len(encode_frame(body)) for body in whole)
    assert reader.has_partial == (reader.buffered_bytes > 0)
    assert whole + list(reader.feed(stream[cut:])) == bodies


@pytest.mark.parametrize("data_type", [bytes, bytearray, memoryview])
def test_a_body_does_not_change_with_the_buffer_it_came_in(data_type: type) -> None:
    buffer = bytearray(encode_frame(b"first") + encode_frame(b"second")[:6])
    reader = FrameReader(LIMIT_BYTES)

    (first,) = reader.feed(data_type(buffer))
    buffer[:] = bytes(len(buffer))
    (second,) = reader.feed(b"cond")

    assert (first, second) == (b"first", b"second")


@pytest.mark.parametrize("chunk_bytes", [1, 3, 4, 1000])
def test_a_frame_that_is_too_large_is_refused_by_its_header_alone(chunk_bytes: int) -> None:
    header = (LIMIT_BYTES + 1).to_bytes(4, "big")
    stream = encode_frame(b"good") + header
    reader = FrameReader(LIMIT_BYTES)
    chunks = [stream[at : at + chunk_bytes] for at in range(0, len(stream), chunk_bytes)]
    read: list[bytes] = []

    with pytest.raises(FrameTooLarge, match=str(LIMIT_BYTES + 1)):
        # extend() keeps what came before the error.
        read.extend(body for chunk in chunks for body in reader.feed(chunk))

    assert read == [b"good"]
    with pytest.raises(FrameTooLarge):
        list(reader.feed(encode_frame(b"more")))


def test_a_frame_at_the_limit_is_taken() -> None:
    body = bytes(LIMIT_BYTES)

    assert list(FrameReader(LIMIT_BYTES).feed(encode_frame(body))) == [body]


def _peak_bytes(reader: FrameReader, stream: bytes, chunk_bytes: int) -> int:
    tracemalloc.start()
    try:
        for begin in range(0, len(stream), chunk_bytes):
            for _ in reader.feed(stream[begin : begin + chunk_bytes]):
                pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("chunk_bytes", [2, 1000, 65536])
def test_one_large_frame_costs_its_own_size_whatever_the_chunks(chunk_bytes: int) -> None:
    size_bytes = 2**20 if chunk_bytes > 100 else 2**16

    peak_bytes = _peak_bytes(FrameReader(size_bytes), encode_frame(bytes(size_bytes)), chunk_bytes)

    # BytesIO grows by an eighth.
    assert peak_bytes < 1.3 * size_bytes + 2 * chunk_bytes + 4096


def test_a_header_that_announces_much_costs_nothing_before_the_bytes_come() -> None:
    reader = FrameReader(2**30)

    peak_bytes = _peak_bytes(reader, (2**30).to_bytes(4, "big") + b"x" * 10, 14)

    assert peak_bytes < 4096
    assert reader.buffered_bytes == 14
