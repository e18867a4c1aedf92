"""Names the parts of the daemon that a trace shows. They are imported anyway.

Not: how they are recorded (`umad.tracing`).
"""

from umad.tracing import Part

PARTS = (
    Part("news of an engine", "umad.daemon.engine_link:EngineLink", "data_received"),
    Part("tokens to clients", "umad.daemon.fanout:Fanout", "engine_tokens"),
    Part("words of a client", "umad.daemon.session:Session", "data_received"),
)
