"""The Python client of the daemon's socket, asynchronous and blocking.

    with Client() as client:
        print(client.complete("Why is the sky blue?"))

    async with AsyncClient() as client:
        async for piece in client.stream([{"role": "user", "content": "Why is the sky blue?"}]):
            ...

`umad` itself has these names, and all others a program needs, in one place.

`AsyncClient` is the `umad.service.Service` every front end uses: many requests on one connection,
on the loop that first used it. `Client` blocks its thread and does one request at a time, without a
loop or a second thread. Both connect at their first use, and again after a connection was lost.
A daemon that was there gets `ClientOptions.return_s` to come back.
Not: starting a daemon, and not the protocol itself (`umad.protocol`).

Every method raises a `UmadError` when a request fails: the daemon's error, or one the client finds
itself (`NoDaemon`, `ConnectionLost`, `DeadlineExceeded`, `LimitExceeded`). Only `events`, for front
ends that pass a failure on, brings the daemon's error as a last event, `Failed`.

    asynchronous  AsyncClient            connection  one connection on a loop
    link          opens the connection when it is needed
    blocking      Client                 channel     one blocking connection
    verbs         every method, once     inbox       unread events of one request; the read gate
    methods       how a verb becomes a method of both clients; job_verbs: those about jobs
    keywords      arguments to a request turns       turns and tools in any form to values
    chats         a chat's answer, in pieces and whole
    pictures      images and sounds from paths, bytes and arrays
    results       single answers         rows        models, requests and the scorecard, typed
    options       timeouts and bounds    opening     the socket's path, hello, connect errors
    logits        reads rows of logits, chooses tokens
    attaching     fetches the descriptor of the memory that holds those rows
    returning     how long a client looks for a daemon that has gone
    speech        the request of a transcription
    finding       the socket among the places where it may be
    trust         checks which user listens on the socket
    carrying      what the asynchronous client needs of a connection
    remote/       the same over HTTP, to a team's router

State belongs to a client and to the loop or thread that uses it; nothing here locks.
"""

from umad.client.asynchronous import AsyncClient
from umad.client.blocking import Client
from umad.client.options import ClientOptions

__all__ = ["AsyncClient", "Client", "ClientOptions"]
