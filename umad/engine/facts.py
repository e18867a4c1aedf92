"""Describes a loaded model and its costs: the plain map of `EngineReady.facts`. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from umad.chat.formats import ChatFormat
from umad.models.positions import StreamBound
from umad.models.sizes import WeightBytes

LOGIT_BYTES = 4

# As in `SchedulerSpec`.
SharesAt = Literal["anywhere", "states"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Everything that a user may want to know about the model that serves them."""

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
    # Bytes of weights that tokens touch.
    weights: WeightBytes
    # The ggml type really used.
    kv_type: str
    # Our name of the type that was asked for.
    kv_type_asked: str
    kv_pack: str
    # Bytes of one position of a text.
    kv_cell_bytes: int
    # Something of a sequence can be shared with another one.
    can_share_prefix: bool
    # The share of a step that an arrival waits for, if it may cut it: 0 where the device looks for
    # one all the time, 1 where steps run to their end.
    cut_share: float
    # Milliseconds that a row's attention takes to pass over one cell of the pool that is not its
    # own.
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
    # False for encoders, which only embed.
    generates: bool = True
    # How the tokens of an embedded text are combined; "rank" for a score of a pair.
    pooling: str = "mean"
    # Tokens of the longest text that is embedded.
    embed_tokens: int = 0
    # Numbers of a vector.
    embed_width: int = 0
    # The kinds of files that it takes beside text: image, audio.
    media: tuple[str, ...] = ()
    # The maker's name of the model; empty where the file has none.
    title: str = ""
    # Where a sequence may be shared: up to any token, or only where its state is at hand.
    shares_at: SharesAt = "anywhere"
    # Host memory for cells that the pool has no room for; 0 for none.
    park_bytes: int = 0
    # The part of `kv_cell_bytes` whose layers look back over `window_tokens` only.
    window_cell_bytes: int = 0
    window_tokens: int = 0
    # Cells of the layers with a window: those of the whole pool, or the window of each stream.
    window_cells: int = 0
    # The part of `seq_bytes` that a step reads and writes as a whole.
    state_bytes: int = 0
    # Bytes of every stream, used or not.
    seq_bytes: int = 0
    # How positions are scaled, where that is not as the model's file says.
    rope: str = ""
    # What an answer depends on, wherever the model is loaded (`umad.engine.fingerprint`); "" where
    # no answer can go on elsewhere.
    fingerprint: str = ""
    # The most tokens of one text, prompt and answer together.
    text_tokens: int = 0
    # What sets `text_tokens`.
    text_bound: StreamBound = "pool"
    # All that the context was reckoned to take: cells, states, and what a step works in.
    context_bytes: int = 0
    # What its projector can do (`MediaFacts`); None without one.
    projector: Mapping[str, Any] | None = None
    # The draft model that guesses its next tokens, and the memory that it takes; None without one.
    draft: Mapping[str, Any] | None = None
    # The part of `size_bytes` that stays in the file and is read as it is used: experts.
    paged_bytes: int = 0
    load_ms: float = 0.0
    # The first decode, which pages the weights in.
    warmup_ms: float = 0.0
    # A decode of one row after that.
    decode_ms: float = 0.0

    @property
    def kv_pool_bytes(self) -> int:
        """Bytes of the whole KV pool."""
        if not self.window_cell_bytes:
            return self.n_cells * self.kv_cell_bytes
        others = self.n_cells * (self.kv_cell_bytes - self.window_cell_bytes)
        return others + self.window_cells * self.window_cell_bytes

    def as_map(self) -> dict[str, Any]:
        """The facts as plain values, for the link."""
        values = asdict(self)
        del values["chat_format"]
        values |= self.chat_format.facts()
        values["active_weight_bytes"] = self.weights.touched(1)
        values["kv_pool_bytes"] = self.kv_pool_bytes
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTraffic:
    """Computes the bytes that a step moves: weights once a micro-batch, KV and states read and
    written, and logits.

    It is an estimate. It leaves out activations, which would add to it, and caches, which would
    save.
    """

    weights: WeightBytes
    # Bytes of one position.
    kv_cell_bytes: int
    n_vocab: int
    ubatch: int
    # The part of `kv_cell_bytes` that a row reads at most `window_tokens` times.
    window_cell_bytes: int = 0
    window_tokens: int = 0
    # Bytes of the state of one sequence of the step. There are at most `max_seqs` sequences.
    state_bytes: int = 0
    max_seqs: int = 0

    def moved(self, *, n_rows: int, n_cells_read: int, n_logit_rows: int) -> int:
        """Bytes of a step with these counts.

        Sequences are counted by their rows of logits. So a sequence whose prompt goes on counts
        only with the step that ends the prompt. All rows of an embedding are outputs; they count as
        far as there are sequences.
        """
        if n_rows <= self.ubatch:
            weights = self.weights.touched(n_rows)
        else:
            whole, rest = divmod(n_rows, self.ubatch)
            weights = whole * self.weights.touched(self.ubatch) + self.weights.touched(rest)
        cells = (n_cells_read + n_rows) * self.kv_cell_bytes
        if self.window_cell_bytes:
            beyond = max(0, n_cells_read - n_rows * self.window_tokens)
            cells -= beyond * self.window_cell_bytes
        states = 2 * min(n_logit_rows, self.max_seqs) * self.state_bytes
        return weights + cells + states + n_logit_rows * self.n_vocab * LOGIT_BYTES
