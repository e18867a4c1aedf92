"""Recognizes files by their first bytes, to say what was sent in place of an image or a sound.

Not: what decoders make of a file; they look for themselves. Pure.
"""

# (offset, bytes, name). Signatures: file(1)'s magic, and the formats' own specifications.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF", "a PDF file"),
    (0, b"PK\x03\x04", "a ZIP file, or a document that is one inside"),
    (4, b"ftypheic", "a HEIC picture"),
    (4, b"ftypheix", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIF picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftypM4A", "an M4A sound"),
    (4, b"ftyp", "an MP4 or QuickTime video"),
    (0, b"\x1aE\xdf\xa3", "a WebM or Matroska video"),
    (8, b"AVI ", "an AVI video"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (8, b"WEBP", "a WebP picture"),
    (0, b"BM", "a BMP picture"),
    (0, b"II*\x00", "a TIFF picture"),
    (0, b"MM\x00*", "a TIFF picture"),
    (8, b"WAVE", "a WAV sound"),
    (8, b"AIFF", "an AIFF sound"),
    (8, b"AIFC", "an AIFF sound"),
    (0, b"fLaC", "a FLAC sound"),
    (0, b"OggS", "an Ogg sound or video"),
    (0, b"ID3", "an MP3 sound"),
    # The head of a frame without a tag: MPEG 1 or 2, layer III, with a checksum or without.
    (0, b"\xff\xfb", "an MP3 sound"),
    (0, b"\xff\xfa", "an MP3 sound"),
    (0, b"\xff\xf3", "an MP3 sound"),
    (0, b"\xff\xf2", "an MP3 sound"),
    (0, b"\x7fELF", "a program"),
    (0, b"GGUF", "a model"),
    (0, b"\x1f\x8b", "a compressed file"),
)
# Texts, by how they begin once their blanks are gone.
_TEXTS: tuple[tuple[bytes, str], ...] = (
    (b"<svg", "an SVG drawing"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"http://", "an address and no file"),
    (b"https://", "an address and no file"),
    (b"data:", "a data: URL and no file"),
)
_UNKNOWN = "of an unknown kind"
# How the names of sounds end.
_ENDS_OF_SOUNDS = (" sound", " sound or video")
# So many first bytes are looked at: an SVG's own element comes behind its declarations.
HEAD_BYTES = 1024


class Unreadable(Exception):
    """The file is refused; the words go behind "this image is" or "this sound is"."""


def name_of(data: bytes) -> str:
    """What the file is, in words for a person; "of an unknown kind" where that is not known."""
    for at, signature, name in _SIGNATURES:
        if data[at : at + len(signature)] == signature:
            return name
    head = data[:HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for begins, name in _TEXTS:
        if head.startswith(begins):
            return name
    if head.startswith((b"<?xml", b"<!--")) and b"<svg" in head:
        return "an SVG drawing"
    return _UNKNOWN


def is_sound(data: bytes) -> bool:
    """Whether the file is a sound, as far as its first bytes tell."""
    return name_of(data).endswith(_ENDS_OF_SOUNDS)


def is_known(data: bytes) -> bool:
    """Whether the first bytes tell what a file is."""
    return name_of(data) != _UNKNOWN
