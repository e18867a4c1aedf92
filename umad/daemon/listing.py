"""Rows of what `models` and `sessions` list: plain maps for `umad ps` and its like. Pure."""

from collections.abc import Mapping
from typing import Any

from umad.daemon.embeddings import Embedding
from umad.daemon.engine import Engine
from umad.daemon.generation import Generation
from umad.protocol.lifecycle import State

# With n completions the request is as far as the one that is furthest.
_FURTHEST = (
    State.GENERATING,
    State.PREFILL,
    State.QUEUED,
    State.PAUSED,
    State.CANCELLING,
    State.DONE,
    State.FAILED,
)


def describe_model(engine: Engine) -> Mapping[str, Any]:
    """One model. Facts of the engine are there from its first readiness on."""
    facts = engine.facts
    error = engine.error
    return {
        **facts,
        "name": engine.name,
        "state": engine.state.value,
        "path": str(engine.path),
        "size_bytes": facts.get("size_bytes"),
        "backend": ", ".join(facts.get("backends", ())),
        "devices": facts.get("devices", ()),
        "ctx": facts.get("n_cells"),
        "seqs": facts.get("max_seqs"),
        "pid": engine.pid,
        "restarts": engine.restarts,
        "live": len(engine.journal),
        "waiting": engine.journal.n_waiting,
        "error": None if error is None else {"code": error.code, "message": error.message},
    }


def describe_generation(generation: Generation, *, now_ns: int) -> Mapping[str, Any]:
    """One live request, with all its completions together."""
    entries = generation.entries
    identity = generation.recipient.identity
    states = {entry.state for entry in entries}
    return {
        "request": generation.request,
        "app": generation.app,
        "client": generation.recipient.client,
        "pid": identity.pid,
        "lane": generation.lane,
        "session": generation.session,
        "model": generation.engine.name,
        "state": next(state.value for state in _FURTHEST if state in states),
        "n": len(entries),
        "prompt_tokens": max(entry.prompt_tokens for entry in entries),
        "generated": sum(len(entry.ids) for entry in entries),
        "age_ms": (now_ns - generation.accepted_ns) / 1e6,
    }


def describe_embedding(live: Embedding, *, now_ns: int) -> Mapping[str, Any]:
    """One live request to embed or to rerank; n: of its texts."""
    return {
        "request": live.request,
        "app": live.app,
        "client": live.recipient.client,
        "pid": live.recipient.identity.pid,
        "lane": live.lane,
        "session": None,
        "model": live.engine.name,
        "state": live.op,
        "n": live.n_inputs,
        "prompt_tokens": 0,
        "generated": 0,
        "age_ms": (now_ns - live.accepted_ns) / 1e6,
    }
