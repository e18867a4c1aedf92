"""Finds the place in a prompt from which on an activated adapter (aLoRA) acts.

It is the last occurrence of the adapter's invocation tokens, as in llama-server. What stands before
it is computed by the model alone, so it is shared with requests that have no adapter. llama-server
goes one token back from there; here the adapter acts on the invocation itself and what follows, as
it was trained (arXiv 2504.12397). Its converter has left out the first token of what users write,
because adapters act behind it.
Pure.
"""

import numpy as np
from numpy.typing import NDArray

from umad.engine.adapters.adapter_set import AdapterSet
from umad.errors import BadRequest


def invoked_at(adapters: AdapterSet | None, prompt: NDArray[np.int32]) -> int:
    """How many tokens of a prompt stand before the adapters act; 0 where they act on all of it.

    Raises `BadRequest` where an activated adapter is asked for and its invocation is not in the
    prompt: the answer would be the model's own.
    """
    if adapters is None or not adapters.invocation:
        return 0
    wanted = np.asarray(adapters.invocation, dtype=np.int32)
    if prompt.size >= wanted.size:
        windows = np.lib.stride_tricks.sliding_window_view(prompt, wanted.size)
        found = np.flatnonzero((windows == wanted).all(axis=1))
        if found.size:
            return int(found[-1])
    name = adapters.parts[0][0].name
    raise BadRequest(
        f"the prompt does not hold what invokes the adapter {name!r}: the tokens "
        f"{', '.join(map(str, adapters.invocation[:16]))}"
        f"{' …' if len(adapters.invocation) > 16 else ''}",
        field="prompt",
    )
