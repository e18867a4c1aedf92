"""LoRA adapters that requests ask an engine for: read, checked, and kept in memory.

    adapter_set   AdapterSet: the adapters of one request, and the key they have everywhere;
                  AdapterShelf: the seam to the backend, which has the adapters in memory
    reading       AdapterReader: reads and checks the files that a request names
    invocation    where in a prompt an activated adapter (aLoRA) begins to act

Reading happens on the threads that take requests in: an adapter's whole file goes through a digest,
which also brings it into memory for the load that follows. The load itself is the step thread's,
because llama.cpp looks through a model's adapters while it reserves its graphs.

Not: which set a step has (`umad.scheduler.steps.adapter_turns`), names (`umad.daemon.adapters`).
"""
