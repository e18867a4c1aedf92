"""Wraps mtmd, llama.cpp's library for images and sounds, with types, as thin as ctypes allows.

    Mtmd          one projector with one text model
    chunks        a bitmap as mtmd lays it out: texts, and runs of rows
    encode        the rows of one run

The library is a file beside llama.cpp's. It is opened by the first projector, and looked at before
it computes: its functions, and how it lays out the one struct that is handed to it. Not: when
anything is encoded (`projector`). Threads: mtmd's own tokenizing may run on several threads at
once; encoding is one thread's at a time.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umad.engine.llamacpp import llama
from umad.engine.llamacpp.devices import device_handle
from umad.engine.llamacpp.library_binding import bound_media
from umad.engine.llamacpp.library_layout import media_faults
from umad.engine.llamacpp.library_symbols import MTMD, missing
from umad.engine.media.encoding import SizedMedium
from umad.errors import BadConfig
from umad.media.medium import Medium

_TEXT, _IMAGE, _AUDIO = 0, 1, 2  # mtmd_input_chunk_type
# A medium is laid out twice, at these two positions, to see that nothing of it depends on them.
_APART = 1000
PLACES = 4  # dimensions of a position under M-RoPE
_looked_at: list[Any] = []

# Asks whether a node is to be shown; shows it, and says whether more is to be computed.
Watcher = tuple[Callable[[], bool], Callable[[], bool]]


def library() -> Any:
    """mtmd's declarations. Raises `BadConfig`, in one line, where the library does not fit."""
    if not _looked_at:
        lib = bound_media()
        if absent := missing(lib._libmtmd, MTMD):
            raise BadConfig(f"llama.cpp's library for media lacks {absent[0]}, which umad calls")
        if faults := media_faults(lib, lib._libmtmd):
            raise BadConfig(f"llama.cpp's library for media is another one: {faults[0]}")
        lib.mtmd_log_set(llama.TAP.callback, ctypes.c_void_p(0))
        _looked_at.append(lib)
    return _looked_at[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """How many tokens an image may become, for projectors that take images of any size. None for
    what the projector's file says."""

    least_tokens: int | None = None
    most_tokens: int | None = None

    def words(self) -> str:
        """What rows depend on of this, as text."""
        return f"{self.least_tokens or ''}-{self.most_tokens or ''}"


NO_LIMITS = MediaLimits()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chunk:
    """One entry of a laid out medium."""

    # mtmd's own; valid as long as the chunks that it is one of.
    handle: Any
    # int32 (n,) of a text; None for rows.
    tokens: NDArray[np.int32] | None
    n_rows: int = 0
    n_positions: int = 0
    causal: bool = True
    # int32 (4, n_rows), or None: as `RowPiece.places`.
    places: NDArray[np.int32] | None = None


class LaidOut:
    """A medium as mtmd has laid it out, until `free`."""

    def __init__(self, lib: Any, bitmap: Any, chunk: Callable[[Any], Chunk]) -> None:
        """chunk: reads the library's chunk."""
        self._lib = lib
        self._bitmap = bitmap
        self._chunk = chunk
        self.made: Any = lib.mtmd_input_chunks_init()

    def chunks(self) -> tuple[Chunk, ...]:
        """Its texts and runs of rows, valid until `free`. Python, some microseconds a row."""
        return tuple(
            self._chunk(self._lib.mtmd_input_chunks_get(self.made, at))
            for at in range(self._lib.mtmd_input_chunks_size(self.made))
        )

    def free(self) -> None:
        """Give its memory back, once."""
        self._lib.mtmd_input_chunks_free(self.made)
        self._lib.mtmd_bitmap_free(self._bitmap)


class Mtmd:
    """A projector that is loaded for a text model."""

    def __init__(
        self,
        model: llama.Model,
        path: Path,
        *,
        gpu: bool,
        threads: int,
        limits: MediaLimits,
        device: str | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        """device: the name of the accelerator; None for the first. watcher: asked of every node of
        an encoder's graph, on the encoding thread. Raises `LlamaError` with the library's words,
        and `BadConfig` where it has none that fits."""
        self._lib = lib = library()
        params = lib.mtmd_context_params_default()
        params.use_gpu, params.n_threads = gpu, threads
        params.device = device and device_handle(llama.libggml, device)
        params.print_timings = params.warmup = False
        params.image_min_tokens = limits.least_tokens or -1
        params.image_max_tokens = limits.most_tokens or -1
        # Kept, because the library holds the bare pointer.
        self._callback = None if watcher is None else _callback(params, watcher)
        if self._callback is not None:
            params.cb_eval = self._callback
        llama.TAP.errors.clear()
        self._handle: Any = lib.mtmd_init_from_file(str(path).encode(), model.handle, params)
        if not self._handle:
            raise llama.LlamaError(llama.TAP.reason())
        self._width = model.n_embd_in
        self.vision = bool(lib.mtmd_support_vision(self._handle))
        self.audio = bool(lib.mtmd_support_audio(self._handle))
        self.sample_rate = max(0, int(lib.mtmd_get_audio_sample_rate(self._handle)))
        self.mrope = bool(lib.mtmd_decode_use_mrope(self._handle))
        self.non_causal = self.vision and bool(lib.mtmd_decode_use_non_causal(self._handle, None))

    @contextmanager
    def chunks(self, medium: SizedMedium, *, pixels: bool) -> Iterator[tuple[Chunk, ...]]:
        """Lay a medium out; as `lay_out`, and freed at the end."""
        laid = self.lay_out(medium, pixels=pixels)
        try:
            yield laid.chunks()
        finally:
            laid.free()

    def lay_out(self, medium: SizedMedium, *, pixels: bool) -> LaidOut:
        """Lay a medium out. pixels: whether its runs can be encoded; without, its sizes alone are
        looked at. Releases the GIL for all of the work. Raises `LlamaError` where the library
        refuses it."""
        lib = self._lib
        if medium.kind == "image":
            at = _data(medium, ctypes.c_uint8) if pixels else None
            bitmap = lib.mtmd_bitmap_init(medium.width, medium.height, at)
        else:
            at = _data(medium, ctypes.c_float) if pixels else None
            bitmap = lib.mtmd_bitmap_init_from_audio(medium.samples, at)
        laid = LaidOut(lib, bitmap, self._chunk)
        part = lib.mtmd_input_part()
        part.bitmap = bitmap
        parts = (ctypes.POINTER(lib.mtmd_input_part) * 1)(ctypes.pointer(part))
        llama.TAP.errors.clear()
        if lib.mtmd_tokenize_from_parts(self._handle, laid.made, parts, 1, False):
            laid.free()
            raise llama.LlamaError(llama.TAP.reason())
        return laid

    def encode(self, chunk: Chunk) -> NDArray[np.float32]:
        """float32 (n_rows, width): a copy. Releases the GIL. Raises `LlamaError`. Where the watcher
        wanted no more, the library says nothing of it, and these are no rows."""
        llama.TAP.errors.clear()
        if self._lib.mtmd_encode_chunk(self._handle, chunk.handle):
            raise llama.LlamaError(llama.TAP.reason())
        at = self._lib.mtmd_get_output_embd(self._handle)
        return np.ctypeslib.as_array(at, (chunk.n_rows, self._width)).copy()

    def close(self) -> None:
        """Free the projector. Nothing of it may be in use."""
        if self._handle:
            self._lib.mtmd_free(self._handle)
            self._handle = None

    def _chunk(self, handle: Any) -> Chunk:
        lib = self._lib
        kind = lib.mtmd_input_chunk_get_type(handle)
        n_rows = int(lib.mtmd_input_chunk_get_n_tokens(handle))
        if kind == _TEXT:
            count = ctypes.c_size_t()
            at = lib.mtmd_input_chunk_get_tokens_text(handle, ctypes.byref(count))
            tokens = np.array([at[one] for one in range(count.value)], np.int32)
            return Chunk(handle=handle, tokens=tokens)
        places = self._places(handle, n_rows) if self.mrope and kind == _IMAGE else None
        return Chunk(
            handle=handle,
            tokens=None,
            n_rows=n_rows,
            n_positions=int(lib.mtmd_input_chunk_get_n_pos(handle)),
            causal=not lib.mtmd_decode_use_non_causal(self._handle, handle),
            places=places,
        )

    def _places(self, handle: Any, n_rows: int) -> NDArray[np.int32]:
        """The order of the dimensions is that of llama.cpp's `set_position_mrope_2d`."""
        lib = self._lib
        image = lib.mtmd_input_chunk_get_tokens_image(handle)
        places = np.empty((PLACES, n_rows), np.int32)
        for row in range(n_rows):
            one = lib.mtmd_image_tokens_get_decoder_pos(image, 0, row)
            places[:, row] = (one.t, one.y, one.x, one.z)
        last = lib.mtmd_image_tokens_get_decoder_pos(image, _APART, n_rows - 1)
        # The fourth is unused and stays 0.
        moved = np.array([last.t, last.y, last.x]) - places[:3, -1]
        if (moved != _APART).any() or last.z != places[3, -1]:
            raise llama.LlamaError("rows of its images do not move with the text before them")
        return places


def _data(medium: SizedMedium, kind: Any) -> Any:
    """The bytes of a medium, in place."""
    assert isinstance(medium, Medium)
    return ctypes.cast(ctypes.c_char_p(medium.data), ctypes.POINTER(kind))


def _callback(params: Any, watcher: Watcher) -> Any:
    wants, passes = watcher

    def on_node(_tensor: object, is_asked: bool, _data: object) -> bool:
        return wants() if is_asked else passes()

    kind = dict(params._fields_)["cb_eval"]
    return kind(on_node)
