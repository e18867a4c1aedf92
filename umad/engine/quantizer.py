"""Quantizes a model's file: tells the size, writes, checks, and only then gives the file its name.

    size ─▶ room on the disk ─▶ write to a hidden name ─▶ load it ─▶ perplexity of both ─▶ rename

All but the last is done by a process of its own (`umad.engine.llamacpp.quantizing`), so a
quantization can be stopped at any moment: by `Quantization.stop`, by Ctrl-C, by a kill. Whatever
happens, no half file ever has the name that was asked for, and what lies about under the hidden
name is removed, at the latest by the next quantization into the same folder. Blocking; not for an
event loop's thread. Importable without llama.cpp.
"""

import contextlib
import math
import os
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from umad.engine.errand import Errand, News
from umad.errors import BadRequest, Cancelled, ModelLoadFailed, UmadError
from umad.quantization import (
    Checked,
    Quantized,
    QuantizeProgress,
    QuantizeWish,
    SizeTold,
    most_worse,
)

_MODULE = "umad.engine.llamacpp.quantizing"
# Dry runs read headers. Everything else takes as long as the file is large, and can be stopped.
_SIZES_S = 120.0
# A disk that is full to the last byte stops other programs.
KEPT_FREE_BYTES = 2**29
_STOPPED = "the quantization was stopped"
_HIDDEN = re.compile(r"^\..+\.(\d+)-[0-9a-f]+\.quantizing$")


def _unseen(_progress: QuantizeProgress) -> None:
    """Nobody looks."""


def _untold(_size: SizeTold) -> None:
    """Nobody wants to know."""


class Quantization:
    """One file that is quantized.

    Owner: the thread that calls `run`; `stop` may be called from any thread.
    """

    def __init__(
        self,
        source: Path,
        target: Path,
        wish: QuantizeWish = "auto",
        *,
        again: bool = False,
        kept_free_bytes: int = KEPT_FREE_BYTES,
    ) -> None:
        """again: a source that is quantized already will do, and loses more."""
        self._source = source
        self._target = target
        self._wish = wish
        self._again = again
        self._kept_free_bytes = kept_free_bytes
        self._errand: Errand | None = None
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """The process that works now."""
        return None if self._errand is None else self._errand.pid

    def stop(self) -> None:
        """End it now. `run` then raises `Cancelled`."""
        self._stopped = True
        if self._errand is not None:
            self._errand.kill()

    def size(self) -> SizeTold:
        """The type and the size of the result; nothing is written. Raises as `run`."""
        return SizeTold(**self._asked({"do": "size"}, timeout_s=_SIZES_S))

    def run(
        self,
        *,
        on_size: Callable[[SizeTold], None] = _untold,
        on_progress: Callable[[QuantizeProgress], None] = _unseen,
    ) -> Quantized:
        """Quantize, check and name the file.

        Raises `BadRequest` (there is such a file, the source is quantized already, no room on the
        disk), `ModelTooLarge` (no type of the ladder fits), `ModelLoadFailed` (llama.cpp refuses
        the source, or the result is broken), `Cancelled`.
        """
        target = self._target
        if not os.path.isdir(target.parent):
            raise BadRequest(f"there is no folder {target.parent}")
        if os.path.lexists(target):
            raise BadRequest(f"{target} is there already; remove it, or name another file")
        _remove_left_behind(target.parent)
        mark = f"{os.getpid()}-{secrets.token_hex(4)}"
        hidden = target.with_name(f".{target.name}.{mark}.quantizing")

        def heard(news: News) -> None:
            if "size" in news:
                on_size(SizeTold(**news["size"]))
            else:
                on_progress(QuantizeProgress(**news))

        try:
            question = {"do": "all", "target": str(hidden), "kept_free": self._kept_free_bytes}
            done = self._asked(question, on_news=heard)
            check = self._checked(done)
            if self._stopped:
                raise Cancelled(_STOPPED)
            _name(hidden, target)
            _sync_folder(target.parent)
        finally:
            with contextlib.suppress(OSError):
                hidden.unlink()
        return Quantized(path=str(target), kind=done["kind"], n_bytes=done["n_bytes"], check=check)

    def _checked(self, done: Mapping[str, Any]) -> Checked | None:
        """Hold the result's perplexity against the source's."""
        source, result = done["source_perplexity"], done["result_perplexity"]
        if source is None or result is None:
            return None
        check = Checked(source=source, result=result)
        most = most_worse(done["kind"])
        if not math.isfinite(result) or check.ratio > most:
            raise ModelLoadFailed(
                f"as {done['kind']}, {self._source} is {check.ratio:.2f} times as surprised by a "
                f"plain text as before, more than {most:g} times; nothing was kept: choose a "
                "larger type"
            )
        return check

    def _asked(
        self,
        question: dict[str, Any],
        *,
        timeout_s: float | None = None,
        on_news: Callable[[News], None] = lambda _news: None,
    ) -> Any:
        whole = {
            "source": str(self._source),
            "kind": self._wish,
            "again": self._again,
            **question,
        }
        self._errand = errand = Errand(_MODULE, whole)
        if self._stopped:
            errand.kill()
        try:
            return errand.answer(timeout_s=timeout_s, on_news=on_news)
        except UmadError as error:
            if self._stopped:
                raise Cancelled(_STOPPED) from error
            raise
        finally:
            self._errand = None


def quantize(
    source: Path,
    target: Path,
    wish: QuantizeWish = "auto",
    *,
    on_progress: Callable[[QuantizeProgress], None] = _unseen,
) -> Quantized:
    """Quantize `source` to `target`. As `Quantization.run`."""
    return Quantization(source, target, wish).run(on_progress=on_progress)


def _name(hidden: Path, target: Path) -> None:
    """Give the file its name, unless another has got it meanwhile. Raises `BadRequest`."""
    try:
        # Unlike a rename, a link never takes the place of another file.
        os.link(hidden, target)
    except FileExistsError:
        raise BadRequest(
            f"{target} was made by somebody else meanwhile and stays as it is; name another file"
        ) from None
    except OSError:  # a file system without links
        hidden.rename(target)


def _remove_left_behind(folder: Path) -> None:
    """Remove files of quantizations whose process was killed."""
    for path in folder.glob(".*.quantizing"):
        found = _HIDDEN.match(path.name)
        if found is not None and not psutil.pid_exists(int(found[1])):
            with contextlib.suppress(OSError):
                path.unlink()


def _sync_folder(folder: Path) -> None:
    """Let the new name outlive a power cut, where the file system takes such a wish."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
