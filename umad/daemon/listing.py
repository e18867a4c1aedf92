"""Builds the rows that `models` and `sessions` list, plain maps for `umad ps` and its like.
Pure.
"""

from collections.abc import Mapping
from typing import Any

from umad.asker import FACTS_FOR_USERS, MACHINE_USER, Asker
from umad.daemon.authority import told_to
from umad.daemon.embeddings import Embedding
from umad.daemon.engine import Engine
from umad.daemon.engine_state import EngineState
from umad.daemon.generation import LiveGeneration
from umad.daemon.transcriptions import Transcription
from umad.protocol.lifecycle import LifecycleState as LifecycleState
from umad.protocol.link import StepStats
from umad.units import NS_PER_S

# A request with n completions shows the state of the completion that is furthest.
_FURTHEST = (
    LifecycleState.GENERATING,
    LifecycleState.PREFILL,
    LifecycleState.QUEUED,
    LifecycleState.PAUSED,
    LifecycleState.CANCELLING,
    LifecycleState.DONE,
    LifecycleState.FAILED,
)


def describe_model(
    engine: Engine, asker: Asker = MACHINE_USER, *, now_ns: int | None = None
) -> Mapping[str, Any]:
    """The row of one model. The engine's facts are in it once the engine was ready. now_ns: for how
    long it stays.
    """
    facts = _all_facts(engine, now_ns)
    if asker.is_admin:
        return facts
    shown = {name: facts[name] for name in FACTS_FOR_USERS if name in facts}
    error = engine.error
    return {
        **shown,
        "error": None
        if error is None
        else {"code": error.code, "message": told_to(asker, error, engine.name).message},
    }


def stream_tokens(facts: Mapping[str, Any]) -> int | None:
    """The most tokens of one text: of a stream, or of an embedded text where the model only embeds.
    None until the engine was ready.
    """
    if facts.get("generates", True):
        return facts.get("text_tokens") or facts.get("n_cells")
    return facts.get("embed_tokens")


def _all_facts(engine: Engine, now_ns: int | None) -> Mapping[str, Any]:
    facts = engine.facts
    error = engine.error
    return {
        **facts,
        "name": engine.name,
        "state": engine.state.value,
        "transcribes": engine.transcribes,
        "path": str(engine.path),
        "size_bytes": facts.get("size_bytes"),
        "backend": ", ".join(facts.get("backends", ())),
        "devices": facts.get("devices", ()),
        "ctx": stream_tokens(facts),
        "modified_s": engine.modified_s,
        "seqs": facts.get("max_seqs"),
        "pid": engine.pid,
        "restarts": engine.restarts,
        "suspended_for": engine.suspended_for or None,
        "waits_for": engine.waits_for or None,
        "load_share": engine.load_share if engine.state is EngineState.STARTING else None,
        "pinned": engine.keep_alive.is_pinned,
        "rests_in_s": _rests_in_s(engine, now_ns),
        "gave_up": engine.gave_up or None,
        "live": len(engine.journal),
        "waiting": engine.journal.n_waiting,
        "prompt_changes": [] if engine.stats is None else _prompt_changes(engine.stats),
        "adapter_switch_ms": None if engine.stats is None else _switch_ms(engine.stats),
        "media_read": None if engine.stats is None else _media_read(engine.stats),
        "error": None if error is None else {"code": error.code, "message": error.message},
    }


def _rests_in_s(engine: Engine, now_ns: int | None) -> float | None:
    """The seconds until a model leaves that nobody uses; None where it stays, or is not there."""
    if now_ns is None or engine.state is not EngineState.READY:
        return None
    ends_ns = engine.keep_alive.ends_ns(engine.used_ns if engine.is_idle else now_ns)
    return None if ends_ns is None else max(0, ends_ns - now_ns) / NS_PER_S


def _switch_ms(stats: StepStats) -> float | None:
    """How long a change of adapters takes; None where none was measured."""
    return round(stats.adapter_switch_ms, 2) or None


def _media_read(stats: StepStats) -> dict[str, Any] | None:
    """What was made into rows, and what needed not be; None where no medium has come."""
    encoded, reused = stats.media_encoded_total, stats.media_reused_total
    if not encoded + reused:
        return None
    each_ms = round(stats.encode_us_total / 1000 / encoded, 1) if encoded else None
    return {"encoded": encoded, "reused": reused, "encode_ms": each_ms}


def _prompt_changes(stats: StepStats) -> list[dict[str, Any]]:
    """The apps whose prompts change early from turn to turn, so that little of them is reused."""
    return [{"app": app, "token": token} for app, token in sorted(stats.prompt_changes.items())]


def describe_generation(
    generation: LiveGeneration, *, now_ns: int, asker: Asker = MACHINE_USER
) -> Mapping[str, Any]:
    """The row of one live request, with all its completions together."""
    entries = generation.entries
    identity = generation.recipient.identity
    states = {entry.state for entry in entries}
    return {
        "request": generation.request,
        "app": generation.app,
        "client": generation.recipient.client,
        "pid": identity.pid if asker.is_admin else None,
        "lane": generation.lane,
        "lane_by": generation.lane_by,
        "session": generation.session,
        "model": generation.engine.name,
        "adapters": list(generation.adapters),
        "adapter_paths": list(generation.adapter_paths) if asker.is_admin else None,
        "state": next(state.value for state in _FURTHEST if state in states),
        "waits_for": waits_for(generation),
        "n": len(entries),
        "prompt_tokens": max(entry.prompt_tokens for entry in entries),
        "generated": sum(len(entry.ids) for entry in entries),
        "age_ms": (now_ns - generation.accepted_ns) / 1e6,
    }


def describe_embedding(
    live: Embedding, *, now_ns: int, asker: Asker = MACHINE_USER
) -> Mapping[str, Any]:
    """The row of one live request to embed or to rerank; n is the number of its texts."""
    return {
        "request": live.request,
        "app": live.app,
        "client": live.recipient.client,
        "pid": live.recipient.identity.pid if asker.is_admin else None,
        "lane": live.lane,
        "lane_by": live.lane_by,
        "session": None,
        "model": live.engine.name,
        "state": live.op,
        "waits_for": None,
        "n": live.n_inputs,
        "prompt_tokens": 0,
        "generated": 0,
        "age_ms": (now_ns - live.accepted_ns) / 1e6,
    }


def describe_transcription(
    live: Transcription, *, now_ns: int, asker: Asker = MACHINE_USER
) -> Mapping[str, Any]:
    """The row of one live request to transcribe: how far it is, in seconds of the recording."""
    return {
        "request": live.request,
        "app": live.app,
        "client": live.recipient.client,
        "pid": live.recipient.identity.pid if asker.is_admin else None,
        "lane": live.lane,
        "lane_by": live.lane_by,
        "session": None,
        "model": live.engine.name,
        "state": "transcribing",
        "waits_for": None if live.engine.connected else f"the engine is {live.engine.state.value}",
        "n": 1,
        "prompt_tokens": 0,
        "generated": 0,
        "done_s": live.done_s,
        "total_s": live.total_s or None,
        "age_ms": (now_ns - live.accepted_ns) / 1e6,
    }


def waits_for(generation: LiveGeneration) -> str | None:
    """Why a request waits, in words; None where one of its completions runs, or nothing is known.

    The engine reports this a few times a second at most, so the answer may be that old.
    """
    engine = generation.engine
    if not any(engine.has_sent(entry.rid) for entry in generation.entries):
        words = {EngineState.WAITING: f"room: {engine.waits_for}", EngineState.YIELDING: "room"}
        return words.get(engine.state, f"the engine is {engine.state.value}")
    reasons = [engine.waits.get(entry.rid) for entry in generation.entries]
    return None if None in reasons else reasons[0]
