"""What a loaded model is and costs: the plain map of `EngineReady.facts`. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from umad.chat.formats import ChatFormat
from umad.models.sizes import WeightBytes

LOGIT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Everything a user may want to know about the model that serves them.

    weights: bytes a token touches. kv_type: the ggml type really used; kv_type_asked: our name
    of what was asked for. can_share_prefix: False for models with a state instead of cells.
    cuts_soon: a running background step gives the device back within milliseconds.
    kv_cell_bytes: of one position of a text, window_cell_bytes the part of it whose layers look
    back over `window_tokens` only. seq_bytes: of every stream, used or not; state_bytes: the part
    of it that a step reads and writes as a whole. context_bytes: all that the context was reckoned
    to take: cells, states, and what a step works in.
    skip_ms: what a row's attention takes to pass over a cell of the pool that is not its own.
    park_bytes: host memory for what the pool has no room for, 0 for none.
    text_tokens: most of one text, prompt and answer together.
    pooling, embed_tokens, embed_width: what becomes of a text's tokens when it is embedded ("rank":
    a score of a pair), tokens of the longest text taken, numbers of a vector. generates: False for
    encoders, which only embed.
    warmup_ms: the first decode, which pages the weights in; decode_ms: one row after that.
    """

    name: str
    path: str
    architecture: str
    description: str
    size_bytes: int
    n_params: int
    n_layer: int
    n_embd: int
    n_head_kv: int
    n_vocab: int
    n_ctx_train: int
    n_cells: int
    max_seqs: int
    weights: WeightBytes
    kv_type: str
    kv_type_asked: str
    kv_pack: str
    kv_cell_bytes: int
    can_share_prefix: bool
    cuts_soon: bool
    skip_ms: float
    flash_attention: bool
    backends: tuple[str, ...]
    devices: tuple[str, ...]
    threads: int
    has_chat_template: bool
    chat_format: ChatFormat
    bos_token: int
    adds_bos: bool
    eog_tokens: tuple[int, ...]
    fim_tokens: Mapping[str, int] = field(default_factory=dict)
    generates: bool = True
    pooling: str = "mean"
    embed_tokens: int = 0
    embed_width: int = 0
    park_bytes: int = 0
    window_cell_bytes: int = 0
    window_tokens: int = 0
    state_bytes: int = 0
    seq_bytes: int = 0
    text_tokens: int = 0
    context_bytes: int = 0
    load_ms: float = 0.0
    warmup_ms: float = 0.0
    decode_ms: float = 0.0

    @property
    def kv_pool_bytes(self) -> int:
        """The whole KV pool."""
        return self.n_cells * self.kv_cell_bytes

    def as_map(self) -> dict[str, Any]:
        """For the link: plain values only."""
        values = asdict(self)
        del values["chat_format"]
        values |= self.chat_format.facts()
        values["active_weight_bytes"] = self.weights.touched(1)
        values["kv_pool_bytes"] = self.kv_pool_bytes
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTraffic:
    """Bytes a step moves: weights once a micro-batch, KV read and written, states read and written,
    logits.

    kv_cell_bytes: of a position; window_cell_bytes: the part of it that a row reads at most
    `window_tokens` times. state_bytes: of a sequence of the step, of which there are `max_seqs` at
    most.
    An estimate that leaves out activations, which would add to it, and caches, which would save.
    """

    weights: WeightBytes
    kv_cell_bytes: int
    n_vocab: int
    ubatch: int
    window_cell_bytes: int = 0
    window_tokens: int = 0
    state_bytes: int = 0
    max_seqs: int = 0

    def moved(self, *, n_rows: int, n_cells_read: int, n_logit_rows: int) -> int:
        """Of a step with these counts. A sequence is told by its row of logits: one whose prompt
        goes on counts with the step that ends it, and the rows of an embedding, which are all
        outputs, as far as there are sequences."""
        whole, rest = divmod(n_rows, self.ubatch)
        weights = whole * self.weights.touched(self.ubatch) + self.weights.touched(rest)
        cells = (n_cells_read + n_rows) * self.kv_cell_bytes
        if self.window_cell_bytes:
            beyond = max(0, n_cells_read - n_rows * self.window_tokens)
            cells -= beyond * self.window_cell_bytes
        states = 2 * min(n_logit_rows, self.max_seqs) * self.state_bytes
        return weights + cells + states + n_logit_rows * self.n_vocab * LOGIT_BYTES
