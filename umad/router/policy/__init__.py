"""Chooses nodes for sessions by what the nodes say of themselves. Pure: times are handed in.

    scorecard ──reading──▶ Reading ──headroom──▶ Headroom ──fleet──▶ weight 0..256 ──▶ HAProxy
    request ──session_key──▶ key ──placer──▶ Placement (a node, and why) ──▶ HAProxy's stick table

    reading        Reading: what a node says, checked. From umad's scorecard
    gauges         the same from the gauges of vLLM, SGLang and llama-server
    headroom       the room that a reading leaves: the least of four parts
    health         the states of a node, as a table
    answer_times   AnswerTimes: how long a node's latest answers took to begin, as HAProxy saw it
    node           Node: one member of the fleet, and how its weight follows its readings
    fleet          Fleet: members join, report, drain, fail, come back and leave; pools of models
    weighted_draw  draws one of many by weight
    session_key    the key of a conversation, as HAProxy computes it too
    session_table  which node has which session: a million of them in memory of a fixed size
    placer         Placer: places sessions, and tells why
    placement      Placement and Unplaced: what was decided, and the words for it
    settings       PolicySettings: every number of the policy, with its reason

How a session is placed:

    1. A session that is known stays at its node, where its cells are, unless the node is down or
       gone, or no longer has the model.
    2. It also leaves a node that has been at its cap for a while, for one with much more room.
    3. A new session goes where its model is loaded. If nobody has room there, it goes where the
       model fits, and else where another model would have to leave for it.
    4. Among those two are drawn by weight, and the one with fewer open requests for its size takes
       it. The best of all would be chosen by everybody at once. Where HAProxy places a session by
       itself, its `random(2)` draws with the same weights, and compares the requests for them, as
       it knows no sizes.

The state is of a fixed size: nodes, models, and sessions have limits.
Owner: the caller's thread. Nothing here locks, reads a clock or opens a socket.
"""

from umad.router.policy.answer_times import AnswerTimes
from umad.router.policy.fleet import Fleet
from umad.router.policy.headroom import Headroom, headroom_of
from umad.router.policy.placement import Placement, Reason, Unplaced
from umad.router.policy.placer import Placer
from umad.router.policy.reading import Reading, reading_of_scorecard
from umad.router.policy.session_key import Asked, session_key
from umad.router.policy.settings import PolicySettings

__all__ = [
    "AnswerTimes",
    "Asked",
    "Fleet",
    "Headroom",
    "Placement",
    "Placer",
    "PolicySettings",
    "Reading",
    "Reason",
    "Unplaced",
    "headroom_of",
    "reading_of_scorecard",
    "session_key",
]
