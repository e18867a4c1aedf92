"""Fetches models: from the Hugging Face hub, from a registry of Ollama's, or off the disk by name.

Only what somebody asks for by hand (`umad pull`) is fetched; no request fetches anything.

    pulling    `fetch`: the model that a reference means, from the first question to the record
    hub        a repository of the hub: listing, gated and offline errors, what the client knows
    hub_config what it says of a model without its weights, for plans of other engines
    choice     which of its files: quantization, all splits, the projector
    hub_cache  where they go, so that the hub's own tools find them
    ollama     the protocol of Ollama's registry, and of others like it
    download   one file: parts at once, resumed, checked as a whole before it is named
    remote     its ranges, and who may see a token
    partial    what is there of it, for the next process
    following  a download of another process
    checksum, limits, progress, room
               its sum; what a fetch may use; how far it is; the disk

This package imports huggingface_hub, which takes some tenths of a second: nothing but a pull, or a
plan that asks the hub, does that.
It blocks and it has threads, so it runs in a process of its own. Nothing here has state but
the files.
"""

from umad.models.fetching.limits import FetchLimits
from umad.models.fetching.progress import FetchProgress
from umad.models.fetching.pulling import FetchPlan, fetch

__all__ = ["FetchLimits", "FetchPlan", "FetchProgress", "fetch"]
