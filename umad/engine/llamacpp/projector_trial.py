"""Tries a projector with its model in a process of its own, before the model is served with it.

llama.cpp ends the process over some projectors that do not fit, and does so at the first image. So
the first image is the trial's: a small one, or a second of noise, is encoded on the CPU, by the
model's header without its weights. The trial also says what the pair can do, so that an engine
knows it without loading the projector.

Owner: the child; `tried` is the parent's end, on the thread that loads a model.
"""

import hashlib
import logging
import resource
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from umad.engine.errand import Answering, Errand, answering
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.devices import Device
from umad.engine.llamacpp.mtmd import MediaLimits, Mtmd
from umad.engine.llamacpp.projector import ProjectorOptions, loaded
from umad.engine.llamacpp.projector_file import checked_header, fingerprint, tensor_bytes
from umad.engine.media.facts import MediaFacts
from umad.engine.process import decode_threads
from umad.errors import BadConfig, EngineFailed, ModelLoadFailed
from umad.media.medium import Medium
from umad.models.projectors import NONE

log = logging.getLogger("umad.engine")

_MODULE = "umad.engine.llamacpp.projector_trial"
# Some projectors have two gigabytes, which are read once.
TRIAL_S = 120.0
_SIDE_PIXELS = 64
_SOUND_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundProjector:
    """A projector that fits its model."""

    options: ProjectorOptions
    facts: MediaFacts


def tried(model: Path, options: ProjectorOptions) -> MediaFacts:
    """What a projector can do with a model. Raises `ModelLoadFailed`, in one line."""
    checked_header(options.path)
    question = {
        "model": str(model),
        "projector": str(options.path),
        "least_tokens": options.limits.least_tokens,
        "most_tokens": options.limits.most_tokens,
        "threads": options.threads,
    }
    try:
        return MediaFacts(**Errand(_MODULE, question).answer(timeout_s=TRIAL_S))
    except (BadConfig, EngineFailed) as error:
        raise ModelLoadFailed(f"{options.path} cannot be used: {error.message}") from None


def with_projector(
    options: EngineOptions, devices: tuple[Device, ...]
) -> tuple[EngineOptions, FoundProjector | None]:
    """The projector of a model, and the options without it where it is of no use.

    A projector that a user named is refused in one line where it does not fit (`ModelLoadFailed`).
    One that was found is left out with a line in the log.
    """
    path = options.projector_path
    if path is None:
        return options, None
    settings = options.engine
    gpus = [one.name for one in devices if one.kind in ("gpu", "igpu")]
    asked = ProjectorOptions(
        path=path,
        gpu=settings.gpu_layers != 0 and bool(gpus),
        device=gpus[0] if settings.device is not None and gpus else None,
        threads=settings.threads or decode_threads(),
    )
    try:
        facts = tried(Path(options.path), asked)
        return options, FoundProjector(options=asked, facts=facts)
    except ModelLoadFailed as error:
        if settings.mmproj is not None:
            raise
        log.warning("no images and sounds model=%s reason=%s", options.name, error.message)
        return replace(options, engine=replace(settings, mmproj=NONE)), None


def _answer(errand: Answering) -> None:
    asked = errand.question
    llama.start()
    options = ProjectorOptions(
        path=Path(asked["projector"]),
        gpu=False,
        threads=asked["threads"],
        limits=MediaLimits(least_tokens=asked["least_tokens"], most_tokens=asked["most_tokens"]),
    )
    header = checked_header(options.path)
    try:
        model = llama.Model(asked["model"], gpu_layers=0, weights=False)
    except llama.LlamaError as error:
        raise ModelLoadFailed(f"{asked['model']} cannot be loaded: {error}") from None
    mtmd = loaded(model, options)
    media = [_image()] if mtmd.vision else []
    if mtmd.audio:
        media.append(_sound(mtmd.sample_rate))
    for medium in media:
        _encode(mtmd, medium, options.path)
    errand.answer(
        MediaFacts(
            path=str(options.path),
            size_bytes=tensor_bytes(header),
            fingerprint=fingerprint(options.path, header),
            vision=mtmd.vision,
            audio=mtmd.audio,
            sample_rate=mtmd.sample_rate,
            mrope=mtmd.mrope,
            non_causal=mtmd.non_causal,
        ).as_map()
    )


def _encode(mtmd: Mtmd, medium: Medium, path: Path) -> None:
    try:
        with mtmd.chunks(medium, pixels=True) as chunks:
            for chunk in chunks:
                if chunk.tokens is None:
                    mtmd.encode(chunk)
    except llama.LlamaError as error:
        raise ModelLoadFailed(f"{path} does not encode a small {medium.kind}: {error}") from None


def _image() -> Medium:
    grey = np.full((_SIDE_PIXELS, _SIDE_PIXELS, 3), 128, np.uint8).tobytes()
    return Medium(
        kind="image",
        content_id=hashlib.sha256(grey).hexdigest(),
        data=grey,
        width=_SIDE_PIXELS,
        height=_SIDE_PIXELS,
    )


def _sound(rate: int) -> Medium:
    n = _SOUND_S * rate
    noise = np.random.default_rng(0).standard_normal(n).astype("<f4") * np.float32(0.1)
    data = noise.astype("<f4").tobytes()
    return Medium(
        kind="audio",
        content_id=hashlib.sha256(data).hexdigest(),
        data=data,
        samples=n,
        rate=rate,
    )


def main() -> int:
    """Answer the one question on stdin."""
    # Its death is an answer, so no core file is needed.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with answering() as errand:
        _answer(errand)
    return 0


if __name__ == "__main__":
    sys.exit(main())
