"""Programs that run on a rented machine. They know the standard library alone, and nothing of umad.

    keeper    starts HAProxy and the engine there, and ends both: idle, out of budget, or broken
    meter     counts tokens by key inside vLLM's server, as its ASGI middleware

They are copied there as files, so each is whole in itself. Owner: the machine they run on.
"""
