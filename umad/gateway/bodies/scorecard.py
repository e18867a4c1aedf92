"""Describes the JSON answers of GET /metrics and POST /load, for the OpenAPI document.

docs/decisions/0022-scorecard.md explains each figure. None means that nothing was measured in the
window.
"""

from pydantic import BaseModel, ConfigDict, Field

from umad.gateway.bodies.answers import AnswerFacts

Measure = float | None
Count = int


class Section(BaseModel):
    """One model, or all of them.

    `model` is its name, or the names of all with commas.
    """

    model: str | None
    tokens_per_s_at_cap: Measure
    tokens_per_s: Measure
    latency_cap: Measure
    p50_ms: Measure
    p95_ms: Measure
    p99_ms: Measure
    max_ms: Measure
    solo_ms: Measure
    ttft_p50_ms: Measure
    ttft_p95_ms: Measure
    p95_over_solo: Measure
    p99_over_solo: Measure
    max_over_solo: Measure
    over_cap_pct: Measure
    over_cap_alone_pct: Measure
    gaps_over_cap: Count
    slowed_by: dict[str, Count]
    longest_gaps_ms: list[float]
    guard_held: bool | None
    sum_bmt_mb_per_token: Measure
    bmt_gbps: Measure
    bmt_budget_gbps: Measure
    scheduler_efficiency: Measure
    gpu_idle_pct: Measure
    cores_lost_pct: Measure
    copy_free_ratio: Measure
    copies_per_row: Measure
    residency_churn_mb_per_token: Measure
    rss_gb: Measure
    pss_gb: Measure
    kv_cells_used: Count
    kv_cells_retained: Count
    kv_cells_total: Count
    kv_utilization: float
    prefix_hit_ratio: Measure
    parked: Count
    queue_depth: dict[str, Count]
    queued: Count
    preemptions: Count
    cuts: Count
    cut_ms: Measure
    restarts: Count
    accepted_per_step: Measure
    speculation_gain: Measure
    background_share: Measure
    requests: Count
    running: Count
    failed: Count
    texts_embedded: Count
    texts_cached: Count
    media_encoded: Count
    media_reused: Count
    encode_ms: Measure
    lanes: dict[str, AnswerFacts]
    apps: dict[str, AnswerFacts]


class ScorecardAnswer(Section):
    """GET /metrics. `window_s` is the time that the figures cover."""

    window_s: float = Field(gt=0)
    # What the memory guard sees and gives up; missing where `memory_guard` is off.
    memory_headroom_gb: Measure = None
    memory_strain: str = "easy"
    memory_given_up: str = "nothing"
    memory_stage: Count = 0
    memory_freed_gb: Measure = None
    models_suspended: Count = 0
    models: dict[str, Section]


class EstimateAnswer(BaseModel):
    """POST /estimate: bytes of the parts, by name; `umad.estimate` says what each is."""

    model_config = ConfigDict(extra="allow")

    total_bytes: int
    fits: bool
    fitting: str
    refused: str
    most_tokens: int


class LoadedAnswer(BaseModel):
    """POST /load: the model's facts; each kind of model adds more."""

    model_config = ConfigDict(extra="allow")

    name: str
