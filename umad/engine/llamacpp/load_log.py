"""Says in the log what was loaded, and what a user asked for that could not be had.

Owner: the main thread.
"""

import logging
from pathlib import Path

from umad.engine.facts import ModelFacts
from umad.engine.llamacpp.devices import Device, looks_always, silent_backends
from umad.engine.llamacpp.library import lib, libggml
from umad.engine.llamacpp.llama import Model
from umad.engine.llamacpp.opened_model import OpenedModel
from umad.engine.llamacpp.warm_up import Observation
from umad.engine.process import locked_bytes
from umad.models.positions import trained_tokens

log = logging.getLogger("umad.engine")

_MB = 1e6
# Not all of it: page ends at the borders of the weights may be left out of the lock.
_LOCKED_SHARE = 0.9


def say_what_found_no_device(devices: tuple[Device, ...]) -> None:
    """Warn where the library was built for a GPU, and all is computed on the CPU."""
    if not looks_always(devices):
        return
    silent = silent_backends(libggml, Path(lib._lib._name).parent)
    if silent:
        log.warning(
            "computing on the CPU: this llama.cpp was built for %s too, and found no device",
            ", ".join(silent),
        )


def say_what_is_loaded(facts: ModelFacts, observed: tuple[Observation, ...]) -> None:
    """Log the model and the first costs of its steps."""
    log.info(
        "loaded model=%s cells=%d stream=%d kv=%s threads=%d load_ms=%.0f warmup_ms=%.0f "
        "decode_ms=%.2f",
        facts.name,
        facts.n_cells,
        facts.text_tokens,
        facts.kv_type,
        facts.threads,
        facts.load_ms,
        facts.warmup_ms,
        facts.decode_ms,
    )
    log.info(
        "costs model=%s %s",
        facts.name,
        " ".join(f"{rows}+{tokens}={ms:.1f}ms" for rows, tokens, ms in observed),
    )


def say_how_far_streams_go(opened: OpenedModel, facts: ModelFacts) -> None:
    """Warn where `ctx_per_stream` asks for more than the model can do, or was made for."""
    asked = opened.options.engine.ctx_per_stream
    trained = trained_tokens(opened.header, opened.rope)
    if asked is None:
        return
    if facts.text_bound == "positions":
        log.warning(
            "ctx_per_stream=%d but the weights of model=%s have %d positions; one stream has those",
            asked,
            facts.name,
            facts.text_tokens,
        )
    elif trained and facts.text_tokens > trained:
        log.warning(
            "one stream of model=%s goes to %d tokens, beyond the %d of its training",
            facts.name,
            facts.text_tokens,
            trained,
        )


def say_what_is_locked(model: Model, devices: tuple[Device, ...]) -> None:
    """Warn where the kernel did not lock the weights. llama.cpp's own warning is one of many."""
    locked = locked_bytes()
    if locked is None or any(device.kind in ("gpu", "igpu") for device in devices):
        return  # an accelerator holds some of the weights
    if locked < _LOCKED_SHARE * model.size_bytes:
        log.warning(
            "mlock holds %.0f of %.0f MB of weights: raise the limit on locked memory (ulimit -l)",
            locked / _MB,
            model.size_bytes / _MB,
        )
