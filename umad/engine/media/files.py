"""Reads files of requests: sizes at once, pixels and samples where rows have to be made of them.

A layout needs sizes alone, which a file's head has. A file whose rows are at hand is not decoded;
any other is, so that a broken one is refused before its request is planned. What was decoded is
kept with the request, up to `KEPT_BYTES` of all requests together; beyond them it is decoded once
more when its turn comes. Nothing of that is a part of a step, so beside streams that somebody reads
it is done on idle cores alone.

Threads: those that take requests in call `read`, the step thread the rest.
"""

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from umad.content import MediaFile
from umad.engine.media.encoding import MediaEncoder
from umad.engine.media.layout import MediumLayout
from umad.engine.media.rows import RowKey
from umad.media.decoder import MediaDecoder, MediumSize
from umad.media.medium import SAMPLE_RATE_HZ, Medium, MediumKind

log = logging.getLogger("umad.engine")

# Pixels of some photos of 12 megapixels.
KEPT_BYTES = 256 * 2**20
# Sizes of files that came lately, some bytes each.
_MOST_SIZES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MediumShape:
    """The sizes of a medium without its pixels; fields as in `Medium`."""

    kind: MediumKind
    content_id: str
    width: int = 0
    height: int = 0
    samples: int = 0
    rate: int = 0


class FileMedium:
    """A medium of one request."""

    def __init__(
        self, files: "MediaFiles", file: MediaFile, shape: MediumShape, layout: MediumLayout
    ) -> None:
        self.file = file
        self.shape = shape
        self.layout = layout
        self._files = files
        self._medium: Medium | None = None

    @property
    def medium(self) -> Medium | None:
        """Its pixels or samples, where they are kept."""
        return self._medium

    def decoded(self) -> Medium:
        """Its pixels or samples. Raises `BadMedia` for a file that cannot be decoded."""
        return self._medium or self._files.decode(self.file)

    def keep(self, medium: Medium) -> None:
        """Keep what was decoded until `drop`."""
        self._medium = medium

    def __del__(self) -> None:
        """Its request is over, or never came to be."""
        self.drop()

    def drop(self) -> None:
        """Its rows are made."""
        medium, self._medium = self._medium, None
        if medium is not None:
            self._files.let_go(len(medium.data))


class MediaFiles:
    """Reads the files of one engine's requests. has_rows: whether rows are at hand; any thread.
    has_readers: whether somebody reads a stream now, so that files are decoded on idle cores.
    """

    def __init__(
        self,
        encoder: MediaEncoder,
        decoder: MediaDecoder,
        *,
        has_rows: Callable[[RowKey], bool],
        has_readers: Callable[[], bool],
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._encoder = encoder
        self._decoder = decoder
        self._has_rows = has_rows
        self._has_readers = has_readers
        self._rate = encoder.facts.sample_rate or SAMPLE_RATE_HZ
        self._left_bytes = kept_bytes
        self._sizes: OrderedDict[tuple[str, str], MediumSize] = OrderedDict()
        self._lock = threading.Lock()

    def sized(self, file: MediaFile) -> FileMedium:
        """A medium as the head of its file has it: enough to count its tokens. Raises `BadMedia`,
        `Unsupported` where no decoder is installed, and `BadRequest` for a medium that the model
        cannot take.
        """
        content_id = hashlib.sha256(file.data).hexdigest()
        key = (file.kind, content_id)
        with self._lock:
            size = self._sizes.get(key)
        if size is None:
            size = self._decoder.size(file, rate=self._rate)
            with self._lock:
                self._sizes[key] = size
                if len(self._sizes) > _MOST_SIZES:
                    self._sizes.popitem(last=False)
        shape = MediumShape(
            kind=file.kind,
            content_id=content_id,
            width=size.width,
            height=size.height,
            samples=size.samples,
            rate=size.rate,
        )
        return FileMedium(self, file, shape, self._encoder.layout(shape))

    def read(self, file: MediaFile) -> FileMedium:
        """A medium to be computed. Raises as `sized` does, for broken pixels too."""
        medium = self.sized(file)
        if all(self._has_rows(self.key(medium, run.index)) for run in medium.layout.runs):
            return medium
        decoded = self.decode(file)
        n_bytes = len(decoded.data)
        with self._lock:
            is_kept = n_bytes <= self._left_bytes
            self._left_bytes -= n_bytes if is_kept else 0
        if is_kept:
            medium.keep(decoded)
        return medium

    def key(self, medium: FileMedium, index: int) -> RowKey:
        """The name of the rows of a run."""
        return RowKey(medium.shape.content_id, index, self._encoder.rows_by)

    def decode(self, file: MediaFile) -> Medium:
        """The pixels or samples of a file."""
        gently = self._has_readers()
        medium = self._decoder.medium(file, rate=self._rate, gently=gently)
        log.info("file decoded kind=%s cores=%s", file.kind, "idle" if gently else "all")
        return medium

    def let_go(self, n_bytes: int) -> None:
        """So many bytes of what was decoded are dropped."""
        with self._lock:
            self._left_bytes += n_bytes

    def close(self) -> None:
        """End the process that decodes."""
        self._decoder.close()
