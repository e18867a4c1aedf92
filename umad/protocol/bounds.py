"""Refuses a msgpack body whose shape would cost far more memory than it has bytes.

msgpack allocates an array when it reads the header: five bytes that announce a million items cost
8 MB, and headers can be nested a thousand deep. So the shape of a body from outside is walked
first, building nothing. Not: what the values mean.
Format: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from umad.errors import ProtocolViolation

# A request is a map of arrays of maps; 16 leaves room for a JSON schema.
MAX_DEPTH = 16
# Room for one prompt of a million token ids, and some more.
MAX_ITEMS = 2**20 + 2**16

# Tables by the first byte of an item: bytes of the whole item (0: it depends on a length), width of
# the length that follows (strings, binary, arrays, maps, ext), items inside for each announced
# entry.
_WHOLE = [0] * 256
_LENGTH_WIDTH = [0] * 256
_PER_ENTRY = [0] * 256
_EXTRA = [0] * 256


def _fill_tables() -> None:
    for byte in (*range(0x80), *range(0xE0, 0x100), 0xC0, 0xC2, 0xC3):
        _WHOLE[byte] = 1
    for byte in range(0xA0, 0xC0):
        _WHOLE[byte] = 1 + (byte & 0x1F)
    for byte, size in {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}.items():
        _WHOLE[byte] = size
    for byte, size in {0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}.items():
        _WHOLE[byte] = size
    for byte, size in zip(range(0xD4, 0xD9), (3, 4, 6, 10, 18), strict=True):
        _WHOLE[byte] = size
    widths = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
    for byte, width in {**widths, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}.items():
        _LENGTH_WIDTH[byte] = width
    for byte in (0xC7, 0xC8, 0xC9):
        _EXTRA[byte] = 1  # the ext's type
    for byte in (*range(0x90, 0xA0), 0xDC, 0xDD):
        _PER_ENTRY[byte] = 1
    for byte in (*range(0x80, 0x90), 0xDE, 0xDF):
        _PER_ENTRY[byte] = 2


_fill_tables()


def check_shape(body: bytes) -> None:
    """Raise `ProtocolViolation` unless `body` is one item that is not too deep or too large."""
    end = len(body)
    at = 0
    items = 0
    left = 1  # items to come on this level
    above: list[int] = []  # the same, of the levels around it
    while True:
        while left == 0:
            if not above:
                if at != end:
                    raise ProtocolViolation("the body continues after its message")
                return
            left = above.pop()
        if at >= end:
            raise ProtocolViolation("the body ends inside its message")
        byte = body[at]
        left -= 1
        whole = _WHOLE[byte]
        if whole:
            at += whole
            if at > end:
                raise ProtocolViolation("the body ends inside its message")
            continue
        width = _LENGTH_WIDTH[byte]
        per_entry = _PER_ENTRY[byte]
        length = int.from_bytes(body[at + 1 : at + 1 + width], "big") if width else byte & 0x0F
        at += 1 + width
        if not per_entry:
            if byte == 0xC1:
                raise ProtocolViolation("the body is not msgpack")
            at += length + _EXTRA[byte]
            if at > end:
                raise ProtocolViolation("the body ends inside its message")
            continue
        inside = length * per_entry
        items += inside
        if inside > end - at:
            raise ProtocolViolation("the body ends inside its message")
        if items > MAX_ITEMS:
            raise ProtocolViolation(f"a message has at most {MAX_ITEMS} items")
        if len(above) >= MAX_DEPTH:
            raise ProtocolViolation(f"a message is nested at most {MAX_DEPTH} deep")
        above.append(left)
        left = inside
