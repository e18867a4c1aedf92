"""Cuts a byte stream into frames: a 4-byte big-endian length, then that many bytes of body.

Not: the meaning of a body. A `FrameReader` belongs to one connection; nothing here locks.
"""

from collections.abc import Iterator
from io import BytesIO

from umad.errors import FrameTooLarge

HEADER_BYTES = 4
MAX_FRAME_BYTES = 2 ** (8 * HEADER_BYTES) - 1


def encode_frame(body: bytes) -> bytes:
    """The frame of `body`. Raises `FrameTooLarge` for a length that no header can hold."""
    if len(body) > MAX_FRAME_BYTES:
        raise FrameTooLarge(f"a frame has at most {MAX_FRAME_BYTES} bytes, not {len(body)}")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


class FrameReader:
    """Cuts a byte stream into bodies, for any chunks in which it arrives.

    Every byte is copied once, or twice in a frame that spans chunks. At most one partial frame of
    `limit_bytes` is held.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._header = b""
        self._body_bytes = 0
        # getvalue() hands over BytesIO's own buffer: a large body is not held twice.
        self._partial = BytesIO()
        self._violation: FrameTooLarge | None = None

    @property
    def buffered_bytes(self) -> int:
        """Bytes held of a frame that is not complete yet."""
        return len(self._header) + self._partial.tell()

    @property
    def has_partial(self) -> bool:
        """Whether a frame has begun and not ended, so that the peer must send the rest."""
        return bool(self._header)

    def only(self, data: bytes) -> bytes | None:
        """The body, where `data` is exactly one frame and none is pending; otherwise None, then
        `feed` it.

        One frame is the usual case between processes that send a frame at a time.
        """
        length = len(data) - HEADER_BYTES
        if (
            self._header
            or length < 0
            or length > self._limit_bytes
            or int.from_bytes(data[:HEADER_BYTES], "big") != length
        ):
            return None
        return data[HEADER_BYTES:]

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """Yield the bodies that `data` completes. Iterate to the end before feeding again.

        Raises `FrameTooLarge` when a header announces too much, after yielding the bodies before
        it. Every later call raises it again, because the beginning of the next frame is unknown.
        """
        if self._violation is not None:
            raise self._violation
        view = memoryview(data)
        at, end = 0, len(view)
        if self._header:
            at = self._take_header(view, 0)
            if len(self._header) == HEADER_BYTES:
                missing = self._body_bytes - self._partial.tell()
                self._partial.write(view[at : at + missing])
                at += missing
                if at > end:
                    return
                yield self._finish()
        while end - at >= HEADER_BYTES:
            begin = at + HEADER_BYTES
            length = self._checked_length(view[at:begin])
            if begin + length > end:
                break
            at = begin + length
            yield bytes(view[begin:at])
        if at < end:
            at = self._take_header(view, at)
            self._partial.write(view[at:])

    def _take_header(self, view: memoryview, at: int) -> int:
        """Complete the header from `view`; return the place where its body begins."""
        missing = HEADER_BYTES - len(self._header)
        if missing:
            self._header += bytes(view[at : at + missing])
            if len(self._header) == HEADER_BYTES:
                self._body_bytes = self._checked_length(self._header)
        return min(at + missing, len(view))

    def _checked_length(self, header: bytes | memoryview) -> int:
        length = int.from_bytes(header, "big")
        if length > self._limit_bytes:
            self._violation = FrameTooLarge(
                f"a frame of {length} bytes is announced, at most {self._limit_bytes} are taken"
            )
            raise self._violation
        return length

    def _finish(self) -> bytes:
        body = self._partial.getvalue()
        self._header = b""
        self._partial = BytesIO()
        return body
