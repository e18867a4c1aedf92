"""Says which tensors lie in which memory, where the options name a place for them.

`n_cpu_moe` keeps the experts of the first layers in the machine's memory; `override_tensor` names
any place for any tensors. Both are llama.cpp's own and become its list of patterns; the first
pattern that is found in a tensor's name decides. It asks the library that it is handed, as
`devices` does. Not: how many layers an accelerator gets (`gpu_layers`).
"""

import ctypes
from dataclasses import dataclass
from typing import Any

from umad.config import EngineSettings
from umad.errors import BadConfig

# LLM_FFN_EXPS_REGEX of llama.cpp's common.h.
_EXPERTS = r"blk\.{layer}\.ffn_(up|down|gate|gate_up)_(ch|)exps"


class _Override(ctypes.Structure):
    """llama_model_tensor_buft_override of llama.h."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffers", ctypes.c_void_p))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Places of tensors, where the options name any."""

    n_cpu_moe: int = 0
    override_tensor: str | None = None

    @classmethod
    def of(cls, settings: EngineSettings) -> "Placement":
        """The part of the settings that places tensors."""
        return cls(n_cpu_moe=settings.n_cpu_moe, override_tensor=settings.override_tensor)

    def rules(self) -> tuple[tuple[str, str | None], ...]:
        """Patterns of names, each with the name of its buffers; None for the CPU's."""
        listed: list[tuple[str, str | None]] = []
        for one in (self.override_tensor or "").split(",") if self.override_tensor else ():
            # A pattern may have "=" in it, the name of buffers has none.
            pattern, equals, buffers = one.rpartition("=")
            if not (pattern and equals and buffers):
                raise BadConfig(
                    f"override_tensor {one!r} is not PATTERN=BUFFER, such as "
                    r"\.ffn_.*_exps=CPU",
                    field="override_tensor",
                )
            listed.append((pattern, buffers))
        experts = (_EXPERTS.format(layer=layer) for layer in range(self.n_cpu_moe))
        return (*listed, *((pattern, None) for pattern in experts))


def overrides(library: ctypes.CDLL, placement: Placement) -> Any:
    """llama.cpp's list for these rules, to be kept while the model is opened; None without any.
    Raises `BadConfig` for buffers that no device has.

    library: ggml's.
    """
    rules = placement.rules()
    if not rules:
        return None
    known = _buffers(library)
    cpu = _function(library, "ggml_backend_cpu_buffer_type", ctypes.c_void_p)()
    listed = (_Override * (len(rules) + 1))()
    for at, (pattern, name) in enumerate(rules):
        if name is not None and name not in known:
            raise BadConfig(
                f"override_tensor names {name!r}, and this machine has {', '.join(sorted(known))}",
                field="override_tensor",
            )
        listed[at] = _Override(pattern.encode(), cpu if name is None else known[name])
    return listed


def _buffers(library: ctypes.CDLL) -> dict[str, int]:
    """The buffer type of each device, by its name."""
    found: dict[str, int] = {}
    for index in range(_function(library, "ggml_backend_dev_count", ctypes.c_size_t)()):
        device = _function(library, "ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)(index)
        kind = _function(library, "ggml_backend_dev_buffer_type", ctypes.c_void_p, ctypes.c_void_p)
        buffers = kind(device)
        if buffers:
            name = _function(library, "ggml_backend_buft_name", ctypes.c_char_p, ctypes.c_void_p)
            found[name(buffers).decode("utf-8", "replace")] = buffers
    return found


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function
