"""Carries requests of the socket over HTTP, to a team's router or to one gateway.

    async with AsyncClient.of_team("https://router:443", key="sk-…") as client:
        async for piece in client.stream("Why is the sky blue?"):
            ...

The client is the same `AsyncClient`. A machine that dies in the middle of an answer is not noticed:
the answer goes on at another machine with the same model, with no token lost or drawn again. Every
request is an HTTP request of its own (`POST /frames`), because a router places requests and not
connections.

    address     where to connect, and how it is secured
    exchange    one HTTP connection: a request out, frames in
    progress    what of an answer has come, and the request for the rest; pure
    carrying    one request, until it has ended, over as many exchanges as that takes
    connection  the same calls as a connection to the socket
    link        makes it; for the client it is what `umad.client.link` is for a socket
    team        TeamClient: all of a team as one daemon, on the machine of its router
    placing     headers by which a router knows a request's conversation and model

Not: which machine is asked; the router decides that.
Owner: the loop of the client.
"""
