"""What a daemon answers in three states, for `umad top`: idle, mixed load, an engine restarting.

The keys are those of a real daemon's answers; tests/cli/test_top_live.py holds them to one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from umad.cli.top.standing import Standing
from umad.errors import UmadError, UnknownRequest

GAPS = [0.0] * 30
CAUSES = ("background", "prompt", "copy", "embedding", "cores", "other_model", "restart", "nothing")


def felt(**given: Any) -> dict[str, Any]:
    """The figures of a lane or an app."""
    row: dict[str, Any] = dict.fromkeys(
        ("p50_ms", "p95_ms", "p99_ms", "max_ms", "solo_ms", "ttft_p50_ms", "ttft_p95_ms")
    )
    row |= {"requests": 0, "running": 0, "failed": 0, "tokens": 0, "tokens_per_s": 0.0}
    row |= {"latency_cap": 1.2, "p95_over_solo": None, "over_cap_pct": None, "guard_held": None}
    row |= {"gaps_over_cap": 0, "slowed_by": dict.fromkeys(CAUSES, 0), "longest_gaps_ms": GAPS}
    return row | given


def card(**given: Any) -> dict[str, Any]:
    """A scorecard."""
    row = {key: value for key, value in felt().items() if key != "tokens"}
    row |= {
        "model": "coder",
        "window_s": 30.0,
        "bmt_gbps": 0.0,
        "bmt_budget_gbps": 80.0,
        "cores_lost_pct": 0.0,
        "rss_gb": 4.2,
        "kv_cells_used": 0,
        "kv_cells_retained": 0,
        "kv_cells_total": 65_536,
        "parked": 0,
        "restarts": 0,
        "lanes": {},
        "apps": {},
        "models": {},
    }
    return row | given


def model(name: str, **given: Any) -> dict[str, Any]:
    """The row of a model."""
    row = {
        "name": name,
        "state": "ready",
        "live": 0,
        "waiting": 0,
        "restarts": 0,
        "n_cells": 65_536,
    }
    return row | given


def request(name: str, app: str, lane: str, **given: Any) -> dict[str, Any]:
    """The row of a live request."""
    row = {
        "request": name,
        "app": app,
        "client": "",
        "pid": 1,
        "lane": lane,
        "lane_by": "default_lane",
        "session": None,
        "model": "coder",
        "state": "generating",
        "waits_for": None,
        "n": 1,
        "prompt_tokens": 100,
        "generated": 10,
        "age_ms": 4_000.0,
    }
    return row | given


IDLE = Standing(models=[model("coder")], sessions=[], card=card(models={"coder": card()}))

_STREAM = [21.0, 22.0, 24.0, 21.0, 60.0, 22.0] * 5
MIXED = Standing(
    models=[model("coder", live=5, waiting=2), model("embed", live=0)],
    sessions=[
        request("r1", "code", "interactive", lane_by="code: an editor", generated=412),
        request("r2", "chat", "interactive", session="holiday", generated=88, age_ms=9_000.0),
        request("r3", "nightly-index", "background", lane_by="apps: nightly*", generated=9_120),
        request(
            "r4",
            "nightly-index",
            "background",
            state="queued",
            waits_for="guard",
            generated=0,
            age_ms=190_000.0,
        ),
        request(
            "r5",
            "python3",
            "background",
            lane_by="under git: a git hook",
            state="queued",
            waits_for="behind an older request",
            generated=0,
            age_ms=61_000.0,
        ),
    ],
    card=card(
        **felt(
            tokens_per_s=61.4,
            p50_ms=21.0,
            p95_ms=24.0,
            max_ms=60.0,
            solo_ms=20.5,
            ttft_p50_ms=142.0,
            ttft_p95_ms=391.0,
            p95_over_solo=1.17,
            over_cap_pct=3.1,
            guard_held=True,
            longest_gaps_ms=_STREAM,
        ),
        bmt_gbps=41.2,
        kv_cells_used=12_400,
        parked=1,
        cores_lost_pct=2.4,
        apps={
            "code": felt(
                tokens_per_s=42.1,
                p95_ms=24.0,
                max_ms=60.0,
                solo_ms=20.5,
                ttft_p50_ms=142.0,
                p95_over_solo=1.17,
                over_cap_pct=7.5,
                guard_held=False,
                gaps_over_cap=9,
                slowed_by=dict.fromkeys(CAUSES, 0) | {"background": 6, "prompt": 4, "nothing": 1},
                longest_gaps_ms=_STREAM,
            ),
            "chat": felt(
                tokens_per_s=19.3,
                p95_ms=22.0,
                solo_ms=20.5,
                p95_over_solo=1.07,
                over_cap_pct=0.0,
                guard_held=True,
            ),
            "nightly-index": felt(tokens_per_s=12.0, p95_ms=88.0),
        },
        lanes={"interactive": felt(), "background": felt()},
        models={"coder": card(kv_cells_used=12_400, parked=1), "embed": card(kv_cells_total=0)},
    ),
)

RESTARTING = Standing(
    models=[model("coder", state="starting", live=1, waiting=1, restarts=3)],
    sessions=[
        request("r1", "code", "interactive", state="queued", waits_for="the engine is starting")
    ],
    card=card(
        restarts=3,
        apps={
            "code": felt(
                p95_ms=21.0,
                max_ms=1_900.0,
                solo_ms=20.5,
                p95_over_solo=1.02,
                over_cap_pct=0.3,
                guard_held=False,
                gaps_over_cap=1,
                slowed_by=dict.fromkeys(CAUSES, 0) | {"restart": 1},
                longest_gaps_ms=[*GAPS[:-2], 21.0, 1_900.0],
            )
        },
        models={"coder": card(restarts=3)},
    ),
)
STATES = {"idle": IDLE, "mixed": MIXED, "restarting": RESTARTING}


class FakeDaemon:
    """Answers with a standing, and remembers what it was told to do."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self.told: list[tuple[str, ...]] = []
        # Raised by the next question, and by those after it.
        self.fails: UmadError | None = None

    async def models(self) -> Sequence[Mapping[str, Any]]:
        self._check()
        return self.standing.models

    async def sessions(self) -> Sequence[Mapping[str, Any]]:
        return self.standing.sessions

    async def metrics(self) -> Mapping[str, Any]:
        return self.standing.card

    async def cancel(self, request: str) -> None:
        self._check()
        if self.standing.session(request) is None:
            raise UnknownRequest(f"no live request is called {request}")
        self.told.append(("cancel", request))

    async def set_priority(self, target: str, lane: str) -> int:
        self._check()
        if self.standing.session(target) is None:
            raise UnknownRequest(f"no live request is called {target}")
        self.told.append(("lane", target, lane))
        return 1

    async def unload(self, model: str) -> None:
        self._check()
        self.told.append(("unload", model))

    def _check(self) -> None:
        if self.fails is not None:
            raise self.fails
