"""Holds every number of the policy, each with its reason. Values only."""

from dataclasses import dataclass

from umad.units import NS_PER_S

# The greatest weight of a server in HAProxy.
MOST_WEIGHT = 256
# What the memory of the router is bounded by, besides the sessions. A node that says more than this
# of itself is refused, whatever it wants with it.
MOST_NODES = 4096
MOST_MODELS = 4096
MOST_MODELS_OF_NODE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """The numbers. Those without a measurement beside them are a first choice; the benchmark
    `fleet` shows what another one does."""

    # A scorecard counts in full for so long. Nodes are asked every few seconds, and one answer may
    # be lost.
    fresh_ns: int = 10 * NS_PER_S
    # After that its headroom is halved in each such time: the less is known, the less is sent.
    half_life_ns: int = 10 * NS_PER_S
    # A node that has said nothing for so long gets no new sessions. Those that it has stay, for
    # HAProxy's health check says whether it lives.
    silent_ns: int = 60 * NS_PER_S
    # A node that joins or comes back gets a growing share: its caches are empty, and everybody who
    # lost a place looks for one at that moment.
    slow_start_ns: int = 30 * NS_PER_S
    # A node that fails is left out for so long, twice as long after each further failure, at most
    # so long. After a while without a failure the count begins anew.
    first_hold_ns: int = 5 * NS_PER_S
    most_hold_ns: int = 300 * NS_PER_S
    forgiven_ns: int = 600 * NS_PER_S
    # The policy remembers for how many sessions it chose a node, half of them for so long: their
    # prompts are read, and where nobody counts the requests that are open, nothing else tells of
    # them until the next scorecard.
    new_half_life_ns: int = 5 * NS_PER_S
    # A node that was sent a session for a model which it had not loaded is believed to load it for
    # so long.
    loading_ns: int = 120 * NS_PER_S
    # A known session leaves a node that was at its cap for so long, if another one has so much more
    # headroom, and if it has been there for so long itself. At most a sixteenth of a node's streams
    # leave with one scorecard: else all would go, and come back with the next. Its new node reads
    # all of it again, so in a fleet that is full as a whole, moves make everything worse. With
    # 15 s, a quarter and an eighth, a simulated fleet at its limit had 42 of a hundred requests
    # beyond their cap, where the same weights without any moves had 32.
    move_after_ns: int = 60 * NS_PER_S
    move_gain: float = 0.5
    settle_s: int = 60
    moved_at_once: float = 1 / 16
    # After so long without a turn a node has most likely given its cells up, so that a session
    # loses nothing by leaving a full node.
    cold_s: int = 900
    # How many sessions are remembered, and for how long after their last turn. The table in HAProxy
    # has the same bounds.
    most_sessions: int = 1_000_000
    session_ttl_s: int = 3600
