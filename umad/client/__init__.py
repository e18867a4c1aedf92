"""The Python client of the daemon's socket, asynchronous and blocking.

    with Client() as client:
        print(client.complete("Why is the sky blue?"))

    async with AsyncClient() as client:
        async for event in client.generate(GenerateRequest(prompt="Why is the sky blue?")):
            ...

`AsyncClient` is the `umad.service.Service` every front end uses: many requests on one connection,
on the loop that first used it. `Client` blocks its thread, one request at a time, with neither a
loop nor a thread behind it. Both connect at their first use, and again after a connection was
lost. Not: starting a daemon, and not the protocol itself (`umad.protocol`).

How a request fails: what the daemon says of it is its last event, `Failed`; what the client finds
out itself is raised (`NoDaemon`, `ConnectionLost`, `DeadlineExceeded`, `LimitExceeded`).
`complete`, `text` and everything that has one answer raise both.

    asynchronous  AsyncClient            connection  one connection on a loop
    blocking      Client                 channel     one blocking connection
    options       timeouts and bounds    inbox       unread events of one request; the read gate
    prompts       a text to a request    opening     the socket's path, hello, connect errors
    results       single answers         logits      rows of logits to read, tokens to choose
                                         attaching   where those rows are: a descriptor is fetched

State belongs to a client and to the loop or thread that uses it; nothing here locks.
"""

from umad.client.asynchronous import AsyncClient
from umad.client.blocking import Client
from umad.client.options import ClientOptions

__all__ = ["AsyncClient", "Client", "ClientOptions"]
